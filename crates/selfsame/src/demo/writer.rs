//! The application: a client that writes every document to all three nodes, one after the other, and keeps a
//! ledger of what was acknowledged. It never reads a node to decide what to write.
//!
//! Versions are microseconds that grow with every write, so that no two writes have the same, but for renewals that
//! move nothing but the expiry. Documents that expire are swept by the application itself, some of them; what it does
//! not sweep is left to lie there.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::documents::Documents;
use super::file::{NodeFile, Operation, Written};
use super::injections::{Injection, Planned};
use super::kinds::{NODE_COUNT, NodeIndex};
use super::ledger::{Ledger, Row};

/// Microseconds since 1970.
pub(super) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

pub(super) const MILLIS: i64 = 1000;

/// Of a thousand writes so many touch a document that was damaged before, create one, delete one, or create one
/// that expires. The rest are updates. Guesses at an ordinary shop.
const TOUCHES: u32 = 4;
const INSERTS: u32 = 60;
const DELETES: u32 = 40;
const EXPIRING: u32 = 45;

/// Deletes stop when so few documents are left to write to. More than all damage takes.
const CALM_MIN: usize = 600;

/// Short-lived documents at the start, so that there are expired ones when the damage begins.
const EARLY_EXPIRING: usize = 150;

/// Expired documents that the application has not got around to sweeping. Enough for a round.
const LAPSED_MAX: usize = 10;

/// What a client wrote to one node, in the order of its commits.
pub(super) type Log = Vec<(Arc<str>, Operation)>;

/// The client. One write at a time, by [`Writer::step`].
pub(super) struct Writer {
    pub(super) files: Vec<NodeFile>,
    pub(super) documents: Arc<Documents>,
    pub(super) random: fastrand::Rng,
    pub(super) ledger: Ledger,
    /// Keys of live documents that do not expire and were never damaged.
    calm: Vec<Arc<str>>,
    /// Which document a key's body is made of.
    document_of: HashMap<Arc<str>, usize>,
    /// Damage still to be done.
    pub(super) planned: VecDeque<Planned>,
    /// Damage done.
    pub(super) injections: Vec<Injection>,
    /// Expired documents that were swept, each with an older row of its own that has expired as well.
    pub(super) swept: Vec<(Arc<str>, Row)>,
    /// The same with an older row that never expires.
    pub(super) swept_undated: Vec<(Arc<str>, Row)>,
    /// Expired documents that lie everywhere still.
    pub(super) lapsed: Vec<(Arc<str>, Row)>,
    /// The last expiry that each document with one ever had.
    pub(super) expiries: HashMap<Arc<str>, i64>,
    /// Keys of which a write took longer than `settle` to reach all nodes.
    pub(super) slow: HashSet<Arc<str>>,
    /// Per node.
    pub(super) logs: [Log; NODE_COUNT],
    clock: Clock,
    settle: i64,
    written: Arc<AtomicU64>,
    timers: BinaryHeap<Reverse<(i64, Timer, Arc<str>)>>,
    /// The row before the renewal, of documents that were renewed.
    renewed: HashMap<Arc<str>, Row>,
    /// The row before there was an expiry, of documents that got one later.
    dated: HashMap<Arc<str>, Row>,
    early: usize,
    last_version: i64,
    edits: u64,
    created: u64,
}

/// What becomes of a document that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It expires.
    Plain,
    /// It is renewed half-way.
    Renewed,
    /// It gets its expiry after it was written without one.
    Dated,
}

impl Life {
    const ALL: [Life; 3] = [Life::Plain, Life::Renewed, Life::Dated];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Renew,
    Sweep,
}

/// What a writer needs.
pub(super) struct WriterOptions {
    pub(super) documents: Arc<Documents>,
    pub(super) seed: u64,
    pub(super) clock: Clock,
    /// How long the agents wait between the two reads of a confirm, in microseconds.
    pub(super) settle: i64,
}

impl Writer {
    /// Makes the three files and loads the documents into each.
    pub(super) fn create(folder: &Path, options: WriterOptions) -> Result<Writer> {
        let WriterOptions { documents, seed, clock, settle } = options;
        let mut ledger = Ledger::default();
        let mut version = clock();
        let mut document_of = HashMap::new();
        for (index, document) in documents.all.iter().enumerate() {
            version += 1;
            let row = Row { body: documents.body(index), updated_at: version, expires_at: None };
            ledger.write(document.id.clone(), row);
            document_of.insert(document.id.clone(), index);
        }
        let calm: Vec<Arc<str>> = documents.all.iter().map(|document| document.id.clone()).collect();
        let mut files = Vec::new();
        for node in NodeIndex::all() {
            let mut file = NodeFile::create(&folder.join(node.file()))?;
            file.load(calm.iter().filter_map(|key| Some((&**key, ledger.row(key)?))))?;
            files.push(file);
        }
        Ok(Writer {
            files,
            documents,
            random: fastrand::Rng::with_seed(seed),
            ledger,
            calm,
            document_of,
            planned: VecDeque::new(),
            injections: Vec::new(),
            swept: Vec::new(),
            swept_undated: Vec::new(),
            lapsed: Vec::new(),
            expiries: HashMap::new(),
            slow: HashSet::new(),
            logs: Default::default(),
            clock,
            settle,
            written: Arc::default(),
            timers: BinaryHeap::new(),
            renewed: HashMap::new(),
            dated: HashMap::new(),
            early: EARLY_EXPIRING,
            last_version: version,
            edits: 0,
            created: 0,
        })
    }

    /// Counts acknowledged writes; grows while the writer works.
    pub(super) fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    /// Copies a node's file, whole and at one moment.
    pub(super) fn back_up(&mut self, node: NodeIndex, path: &Path) -> Result<()> {
        self.files[node.0].back_up(path)
    }

    /// Closes the files. Nothing can be written any more.
    pub(super) fn close(&mut self) {
        self.files.clear();
    }

    /// Now, by the writer's clock.
    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// One write: planned damage, something that is due, or ordinary traffic.
    pub(super) fn step(&mut self) -> Result<()> {
        if self.inject_next()? {
            return Ok(());
        }
        let now = self.now();
        if let Some(Reverse((due, timer, key))) = self.timers.peek().cloned()
            && due <= now
        {
            self.timers.pop();
            return self.due(timer, key, now);
        }
        if self.early > 0 {
            self.early -= 1;
            return self.create_expiring(now, Life::ALL[self.early % Life::ALL.len()]);
        }
        match self.random.u32(0..1000) {
            die if die < TOUCHES => self.touch_damaged(),
            die if die < TOUCHES + INSERTS => self.create_document(None).map(drop),
            die if die < TOUCHES + INSERTS + DELETES && self.calm.len() > CALM_MIN => self.delete_one(),
            die if die < TOUCHES + INSERTS + DELETES + EXPIRING => {
                let life = Life::ALL[self.random.usize(0..Life::ALL.len())];
                self.create_expiring(now, life)
            }
            _ => self.update_one(),
        }
    }

    fn update_one(&mut self) -> Result<()> {
        let key = self.calm[self.random.usize(0..self.calm.len())].clone();
        let row = self.next_row(&key);
        self.everywhere(&key, Some(row))
    }

    fn delete_one(&mut self) -> Result<()> {
        let key = self.take_calm();
        self.everywhere(&key, None)
    }

    /// Creates a document on all nodes but `missing`; gives its key.
    pub(super) fn create_document(&mut self, missing: Option<NodeIndex>) -> Result<Arc<str>> {
        let (key, row) = self.new_document();
        self.fan_out(&key, Some(row), missing.as_slice())?;
        if missing.is_none() {
            self.calm.push(key.clone());
        }
        Ok(key)
    }

    /// A new key, and its first row.
    pub(super) fn new_document(&mut self) -> (Arc<str>, Row) {
        let key = loop {
            self.created += 1;
            let key: Arc<str> = format!("new-{}", self.created).into();
            if !self.ledger.knows(&key) {
                break key;
            }
        };
        self.document_of.insert(key.clone(), self.random.usize(0..self.documents.all.len()));
        let row = self.next_row(&key);
        (key, row)
    }

    /// A document that lives for a second or two.
    fn create_expiring(&mut self, now: i64, life: Life) -> Result<()> {
        let (key, mut row) = self.new_document();
        let expiry = now + self.random.i64(400..1600) * MILLIS;
        match life {
            Life::Plain => {}
            Life::Renewed => self.timers.push(Reverse((now + (expiry - now) / 2, Timer::Renew, key.clone()))),
            Life::Dated => {
                self.dated.insert(key.clone(), row.clone());
                self.everywhere(&key, Some(row))?;
                row = self.next_row(&key);
            }
        }
        row.expires_at = Some(expiry);
        self.expire(&key, expiry);
        self.everywhere(&key, Some(row))
    }

    /// Remembers an expiry. Three documents in four are swept some time after it.
    fn expire(&mut self, key: &Arc<str>, expiry: i64) {
        self.expiries.insert(key.clone(), expiry);
        if self.random.u8(0..4) > 0 {
            self.timers.push(Reverse((expiry + 150 * MILLIS, Timer::Sweep, key.clone())));
        }
    }

    fn due(&mut self, timer: Timer, key: Arc<str>, now: i64) -> Result<()> {
        let Some(current) = self.ledger.row(&key).cloned() else { return Ok(()) };
        match timer {
            // Too late for a renewal: it would bring back what others may have deleted.
            Timer::Renew if current.expired_at(now + 100 * MILLIS) => Ok(()),
            Timer::Renew => {
                let expiry = current.expires_at.unwrap_or(now) + self.random.i64(300..900) * MILLIS;
                let row = Row { expires_at: Some(expiry), ..self.next_row(&key) };
                self.renewed.insert(key.clone(), current);
                self.expire(&key, expiry);
                self.everywhere(&key, Some(row))
            }
            Timer::Sweep if current.expired_at(now) => {
                let (renewed, dated) = (self.renewed.remove(&key), self.dated.remove(&key));
                if renewed.is_none() && dated.is_none() && self.lapsed.len() < LAPSED_MAX {
                    self.lapsed.push((key, current));
                    return Ok(());
                }
                self.everywhere(&key, None)?;
                self.swept.extend(renewed.map(|older| (key.clone(), older)));
                self.swept_undated.extend(dated.map(|older| (key, older)));
                Ok(())
            }
            Timer::Sweep => Ok(()),
        }
    }

    /// Ordinary traffic meets a damaged document: the application updates it without knowing.
    fn touch_damaged(&mut self) -> Result<()> {
        let touchable: Vec<usize> = (0..self.injections.len())
            .filter(|index| self.ledger.row(&self.injections[*index].key).is_some())
            .collect();
        if touchable.is_empty() {
            return self.update_one();
        }
        let index = touchable[self.random.usize(0..touchable.len())];
        let key = self.injections[index].key.clone();
        let row = self.next_row(&key);
        let found = self.fan_out(&key, Some(row), &[])?;
        let injection = &mut self.injections[index];
        // Only if damage was still there has traffic healed it.
        injection.overtaken |= injection.nodes.iter().any(|node| found[node.0] == injection.damaged);
        Ok(())
    }

    /// Takes a key out of ordinary traffic.
    pub(super) fn take_calm(&mut self) -> Arc<str> {
        let index = self.random.usize(0..self.calm.len());
        self.calm.swap_remove(index)
    }

    /// The next edit of a document, without an expiry.
    pub(super) fn next_row(&mut self, key: &str) -> Row {
        self.edits += 1;
        let document = self.document_of.get(key).copied().unwrap_or(0);
        let body = self.documents.edited(document, self.edits);
        self.last_version = (self.clock)().max(self.last_version + 1);
        Row { body, updated_at: self.last_version, expires_at: None }
    }

    /// Writes to all nodes.
    pub(super) fn everywhere(&mut self, key: &Arc<str>, row: Option<Row>) -> Result<()> {
        self.fan_out(key, row, &[]).map(drop)
    }

    /// Writes to one node after the other, those `missing` left out, and notes in the ledger that all acknowledged it.
    /// Gives what was there before, by node.
    pub(super) fn fan_out(
        &mut self,
        key: &Arc<str>,
        row: Option<Row>,
        missing: &[NodeIndex],
    ) -> Result<[Option<Row>; NODE_COUNT]> {
        let began = self.now();
        let mut before: [Option<Row>; NODE_COUNT] = Default::default();
        for node in NodeIndex::all().filter(|node| !missing.contains(node)) {
            before[node.0] = self.write_one(node, key, row.as_ref())?;
        }
        self.acknowledge(key, row, began);
        Ok(before)
    }

    /// Notes that the client takes a state for written everywhere; the write began at `began`.
    pub(super) fn acknowledge(&mut self, key: &Arc<str>, row: Option<Row>, began: i64) {
        if self.now() - began >= self.settle {
            self.slow.insert(key.clone());
        }
        self.written.fetch_add(1, Ordering::Relaxed);
        match row {
            Some(row) => self.ledger.write(key.clone(), row),
            None => self.ledger.delete(key.clone()),
        }
    }

    /// Writes to one node and logs it. Gives what was there before.
    pub(super) fn write_one(
        &mut self,
        node: NodeIndex,
        key: &Arc<str>,
        row: Option<&Row>,
    ) -> Result<Option<Row>> {
        let Written { before, operation } = self.files[node.0].write(key, row)?;
        if let Some(operation) = operation {
            self.logs[node.0].push((key.clone(), operation));
        }
        Ok(before)
    }
}
