//! Damage: how each kind of divergence is made, through the writer.
//!
//! Each injection has a key of its own. From then on ordinary traffic leaves the key alone, but for a rare touch
//! that may heal it: the injection then is `overtaken`. What the key should end as stands in the ledger alone: what
//! the client did last. A delete is of the state that it met; where it crosses an update, the higher version counts.

use std::sync::Arc;

use anyhow::Result;

use super::documents::flipped;
use super::kinds::{Kind, NODE_COUNT, NodeIndex};
use super::ledger::Row;
use super::writer::{MILLIS, Writer};

/// Injections of each kind in the rounds, spread evenly over the nodes. The last round, after which clients stop, is a
/// small one: one on each node.
pub(super) const EACH_PER_ROUND: [usize; 3] = [20, 20, NODE_COUNT];

/// How long a renewed document lives: longer than the demo.
const RENEWED_FOR: i64 = 3600 * 1000 * MILLIS;

/// Of a hundred writes in a round so many do planned damage.
const DAMAGE_SHARE: u8 = 50;

/// Damage still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) kind: Kind,
    pub(super) node: NodeIndex,
    pub(super) round: usize,
    /// Some kinds have two ways to come about, in turns.
    pub(super) is_second_way: bool,
}

/// Damage done.
#[derive(Clone, Debug)]
pub(super) struct Injection {
    pub(super) kind: Kind,
    /// The damaged nodes: those that are not as the ledger is.
    pub(super) nodes: Vec<NodeIndex>,
    pub(super) key: Arc<str>,
    /// In which round, from 0.
    pub(super) round: usize,
    /// The row of each of them after it.
    pub(super) damaged: Option<Row>,
    /// Whether ordinary traffic healed it before anybody else did.
    pub(super) overtaken: bool,
}

/// What damage left behind.
struct Damage {
    key: Arc<str>,
    nodes: Vec<NodeIndex>,
    row: Option<Row>,
}

impl Damage {
    fn one(node: NodeIndex, key: Arc<str>, row: Option<Row>) -> Damage {
        Damage { key, nodes: vec![node], row }
    }
}

impl Writer {
    /// Plans a round: so many of each kind in an order drawn by lot, on all nodes.
    pub(super) fn plan_round(&mut self, round: usize) {
        let each = EACH_PER_ROUND[round];
        let planned = |kind, index: usize| Planned {
            kind,
            node: NodeIndex((round * EACH_PER_ROUND[0] + index) % NODE_COUNT),
            round,
            is_second_way: (round + index) % 2 == 1,
        };
        let mut mixed: Vec<Planned> = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ReplicaDown) {
            mixed.extend((0..each).map(|index| planned(kind, index)));
        }
        self.random.shuffle(&mut mixed);
        // A node that is down misses what is written in one stretch.
        let node = NodeIndex(round % NODE_COUNT);
        let down = (0..each).map(|index| Planned { node, ..planned(Kind::ReplicaDown, index) });
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
        let Some(Damage { key, nodes, row }) = self.inject(planned)? else {
            // Nothing has expired yet that could come back, or be renewed: later.
            self.planned.push_back(planned);
            return Ok(false);
        };
        let Planned { kind, round, .. } = planned;
        self.injections.push(Injection { kind, nodes, key, round, damaged: row, overtaken: false });
        Ok(true)
    }

    /// `None` if there is no key for it now.
    fn inject(&mut self, planned: Planned) -> Result<Option<Damage>> {
        let Planned { kind, node, is_second_way, .. } = planned;
        Ok(Some(match kind {
            Kind::LostWrite => self.lost_write(node)?,
            Kind::LostInsert => self.lost_insert(node)?,
            Kind::StaleUpdate => self.stale_update(node)?,
            Kind::FlippedValue => self.flipped_value(node)?,
            Kind::ReplicaDown => match self.random.u8(0..4) {
                0 => self.lost_insert(node)?,
                _ => self.lost_write(node)?,
            },
            Kind::ReorderedUpdates => self.reordered_updates(node)?,
            Kind::LostDelete => self.lost_delete(vec![node])?,
            Kind::MinorityDelete => self.lost_delete(others(node).collect())?,
            Kind::DeleteAgainstUpdate if is_second_way => self.delete_after_update(node)?,
            Kind::DeleteAgainstUpdate => self.update_after_delete(node)?,
            Kind::DeleteAndRecreation if is_second_way => self.recreation_refused(node)?,
            Kind::DeleteAndRecreation => self.recreation_lost(node)?,
            Kind::ExpiredStraggler => {
                let straggler = self.swept.pop();
                return straggler.map(|(key, older)| self.straggler(node, key, older)).transpose();
            }
            Kind::StragglerAfterSweep => {
                let straggler = self.swept_undated.pop();
                return straggler.map(|(key, older)| self.straggler(node, key, older)).transpose();
            }
            Kind::RenewedExpiry if is_second_way => return self.renewed_after_a_sweep(node),
            Kind::RenewedExpiry => self.renewed_in_time(node)?,
        }))
    }

    fn lost_write(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        let before = self.ledger.row(&key).cloned();
        let row = self.next_row(&key);
        self.fan_out(&key, Some(row), &[node])?;
        Ok(Damage::one(node, key, before))
    }

    fn lost_insert(&mut self, node: NodeIndex) -> Result<Damage> {
        Ok(Damage::one(node, self.create_document(Some(node))?, None))
    }

    /// Two updates everywhere; then the first once more on the node, from a retry that nobody waited for.
    fn stale_update(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        let older = self.next_row(&key);
        self.everywhere(&key, Some(older.clone()))?;
        let newer = self.next_row(&key);
        self.everywhere(&key, Some(newer))?;
        self.straggler(node, key, older)
    }

    fn flipped_value(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        let row = self.next_row(&key);
        self.everywhere(&key, Some(row.clone()))?;
        let body = flipped(&row.body, |places| self.random.usize(0..places)).into();
        self.straggler(node, key, Row { body, ..row })
    }

    fn reordered_updates(&mut self, node: NodeIndex) -> Result<Damage> {
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
        Ok(Damage::one(node, key, Some(first)))
    }

    /// A delete that skips nodes.
    fn lost_delete(&mut self, nodes: Vec<NodeIndex>) -> Result<Damage> {
        let key = self.take_calm();
        let row = self.ledger.row(&key).cloned();
        self.fan_out(&key, None, &nodes)?;
        Ok(Damage { key, nodes, row })
    }

    /// One client deletes what it has read, another updates it: the update comes first to one node, where the delete
    /// then finds another state than it wanted to delete, and leaves it. On the others the update finds nothing. It
    /// made a state that nobody deleted: it stays.
    fn update_after_delete(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        let updated = self.next_row(&key);
        let nodes: Vec<NodeIndex> = others(node).collect();
        let began = self.now();
        for other in &nodes {
            self.write_one(*other, &key, None)?;
        }
        self.write_one(node, &key, Some(&updated))?;
        self.acknowledge(&key, None, began);
        self.acknowledge(&key, Some(updated), began);
        Ok(Damage { key, nodes, row: None })
    }

    /// An update, and then a delete of what it made. One node gets them in the wrong order, and the update writes the
    /// document anew.
    fn delete_after_update(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        let updated = self.next_row(&key);
        let began = self.now();
        for other in NodeIndex::all() {
            let (earlier, later) =
                if other == node { (None, Some(&updated)) } else { (Some(&updated), None) };
            self.write_one(other, &key, earlier)?;
            self.write_one(other, &key, later)?;
        }
        self.acknowledge(&key, Some(updated.clone()), began);
        self.acknowledge(&key, None, began);
        Ok(Damage::one(node, key, Some(updated)))
    }

    /// A document is deleted everywhere and made anew, but not on one node.
    fn recreation_lost(&mut self, node: NodeIndex) -> Result<Damage> {
        let key = self.take_calm();
        self.everywhere(&key, None)?;
        let anew = self.next_row(&key);
        self.fan_out(&key, Some(anew), &[node])?;
        Ok(Damage::one(node, key, None))
    }

    /// The delete skips a node, which then refuses the new document: it has one of that key.
    fn recreation_refused(&mut self, node: NodeIndex) -> Result<Damage> {
        let Damage { key, nodes, row } = self.lost_delete(vec![node])?;
        let anew = self.next_row(&key);
        self.fan_out(&key, Some(anew), &nodes)?;
        Ok(Damage { key, nodes, row })
    }

    /// An older state of a document arrives late.
    fn straggler(&mut self, node: NodeIndex, key: Arc<str>, older: Row) -> Result<Damage> {
        self.write_one(node, &key, Some(&older))?;
        Ok(Damage::one(node, key, Some(older)))
    }

    /// A document that is about to expire is renewed in time, and one node does not hear of it.
    fn renewed_in_time(&mut self, node: NodeIndex) -> Result<Damage> {
        let now = self.now();
        let (key, mut row) = self.new_document();
        row.expires_at = Some(now + self.random.i64(200..1200) * MILLIS);
        self.everywhere(&key, Some(row.clone()))?;
        let renewed = self.renewal(&key, &row);
        self.fan_out(&key, Some(renewed), &[node])?;
        Ok(Damage::one(node, key, Some(row)))
    }

    /// A document is renewed after it has expired. One node has swept it by then, and has nothing to renew.
    fn renewed_after_a_sweep(&mut self, node: NodeIndex) -> Result<Option<Damage>> {
        let Some((key, row)) = self.lapsed.pop() else { return Ok(None) };
        self.write_one(node, &key, None)?;
        let renewed = self.renewal(&key, &row);
        self.fan_out(&key, Some(renewed), &[node])?;
        Ok(Some(Damage::one(node, key, None)))
    }

    /// A state that outlives the demo: a new one, or only a new expiry.
    fn renewal(&mut self, key: &Arc<str>, row: &Row) -> Row {
        let expiry = self.now() + RENEWED_FOR;
        self.expiries.insert(key.clone(), expiry);
        let row = if self.random.bool() { row.clone() } else { self.next_row(key) };
        Row { expires_at: Some(expiry), ..row }
    }
}

fn others(node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
    NodeIndex::all().filter(move |other| *other != node)
}
