//! Damage: how each kind of divergence is made, through the writer and on one node.
//!
//! Each injection has a key of its own. From then on ordinary traffic leaves the key alone, but for a rare touch
//! that may heal it: the injection then is `overtaken`. What the key should end as stands in the ledger alone.

use std::sync::Arc;

use anyhow::Result;

use super::documents::flipped;
use super::kinds::{Kind, NODE_COUNT, NodeIndex};
use super::ledger::Row;
use super::writer::Writer;

/// Injections of each kind in a round. Three rounds make more than 40 of each, spread evenly over the nodes.
pub(super) const EACH_PER_ROUND: usize = 14;

/// Of a hundred writes in a round so many do planned damage.
const DAMAGE_SHARE: u8 = 50;

/// Damage still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) kind: Kind,
    pub(super) node: NodeIndex,
    pub(super) round: usize,
}

/// Damage done.
#[derive(Clone, Debug)]
pub(super) struct Injection {
    pub(super) kind: Kind,
    /// The damaged node.
    pub(super) node: NodeIndex,
    pub(super) key: Arc<str>,
    /// In which round, from 0.
    pub(super) round: usize,
    /// The damaged node's row after it.
    pub(super) damaged: Option<Row>,
    /// Whether ordinary traffic healed it before anybody else did.
    pub(super) overtaken: bool,
}

impl Writer {
    /// Plans a round: [`EACH_PER_ROUND`] of each kind in an order drawn by lot, on all nodes.
    pub(super) fn plan_round(&mut self, round: usize) {
        let mut mixed: Vec<Planned> = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ReplicaDown) {
            let node = |index: usize| NodeIndex((round * EACH_PER_ROUND + index) % NODE_COUNT);
            mixed.extend((0..EACH_PER_ROUND).map(|index| Planned { kind, node: node(index), round }));
        }
        self.random.shuffle(&mut mixed);
        // A node that is down misses what is written in one stretch.
        let node = NodeIndex(round % NODE_COUNT);
        let down = std::iter::repeat_n(Planned { kind: Kind::ReplicaDown, node, round }, EACH_PER_ROUND);
        let place = self.random.usize(0..=mixed.len());
        mixed.splice(place..place, down);
        self.planned.extend(mixed);
    }

    /// Does the next planned damage, if its turn has come; tells whether it did.
    pub(super) fn inject_next(&mut self) -> Result<bool> {
        let Some(planned) = self.planned.front().copied() else { return Ok(false) };
        let is_stretch = planned.kind == Kind::ReplicaDown;
        if !is_stretch && self.random.u8(0..100) >= DAMAGE_SHARE {
            return Ok(false);
        }
        self.planned.pop_front();
        let Some((key, damaged)) = self.inject(planned)? else {
            // Nothing has expired yet that could come back: later.
            self.planned.push_back(planned);
            return Ok(false);
        };
        let Planned { kind, node, round } = planned;
        self.injections.push(Injection { kind, node, key, round, damaged, overtaken: false });
        Ok(true)
    }

    /// Gives the key and the damaged node's row; `None` if there is no key for it now.
    fn inject(&mut self, Planned { kind, node, .. }: Planned) -> Result<Option<(Arc<str>, Option<Row>)>> {
        Ok(Some(match kind {
            Kind::LostWrite => self.lost_write(node)?,
            Kind::LostInsert => (self.create_document(Some(node))?, None),
            Kind::StaleUpdate => self.stale_update(node)?,
            Kind::FlippedValue => self.flipped_value(node)?,
            Kind::ReplicaDown => match self.random.u8(0..4) {
                0 => (self.create_document(Some(node))?, None),
                _ => self.lost_write(node)?,
            },
            Kind::ReorderedUpdates => self.reordered_updates(node)?,
            Kind::ExpiredStraggler => match self.expired_straggler(node)? {
                Some(straggler) => straggler,
                None => return Ok(None),
            },
        }))
    }

    fn lost_write(&mut self, node: NodeIndex) -> Result<(Arc<str>, Option<Row>)> {
        let key = self.take_calm();
        let before = self.ledger.row(&key).cloned();
        let row = self.next_row(&key);
        self.fan_out(&key, Some(row), Some(node))?;
        Ok((key, before))
    }

    /// Two updates everywhere; then the first once more on the node, from a retry that nobody waited for.
    fn stale_update(&mut self, node: NodeIndex) -> Result<(Arc<str>, Option<Row>)> {
        let key = self.take_calm();
        let older = self.next_row(&key);
        self.everywhere(&key, Some(older.clone()))?;
        let newer = self.next_row(&key);
        self.everywhere(&key, Some(newer))?;
        self.write_one(node, &key, Some(&older))?;
        Ok((key, Some(older)))
    }

    fn flipped_value(&mut self, node: NodeIndex) -> Result<(Arc<str>, Option<Row>)> {
        let key = self.take_calm();
        let row = self.next_row(&key);
        self.everywhere(&key, Some(row.clone()))?;
        let body = flipped(&row.body, |places| self.random.usize(0..places)).into();
        let damaged = Row { body, ..row };
        self.write_one(node, &key, Some(&damaged))?;
        Ok((key, Some(damaged)))
    }

    fn reordered_updates(&mut self, node: NodeIndex) -> Result<(Arc<str>, Option<Row>)> {
        let key = self.take_calm();
        let began = self.now();
        let (first, second) = (self.next_row(&key), self.next_row(&key));
        for other in NodeIndex::all() {
            let (earlier, later) = if other == node { (&second, &first) } else { (&first, &second) };
            self.write_one(other, &key, Some(earlier))?;
            self.write_one(other, &key, Some(later))?;
        }
        self.acknowledge(&key, Some(first.clone()), began);
        self.acknowledge(&key, Some(second), began);
        Ok((key, Some(first)))
    }

    /// A document that was renewed, expired and was swept everywhere: its first state arrives late.
    fn expired_straggler(&mut self, node: NodeIndex) -> Result<Option<(Arc<str>, Option<Row>)>> {
        let Some((key, older)) = self.swept.pop() else { return Ok(None) };
        self.write_one(node, &key, Some(&older))?;
        Ok(Some((key, Some(older))))
    }
}
