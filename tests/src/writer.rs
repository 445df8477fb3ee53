//! A client that writes to all nodes, one after the other, and keeps its own ledger of what was acknowledged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::oracle::{Contents, open_store, put};
use crate::{Fleet, wait};

/// How a writer writes.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// What its choices follow from.
    pub seed: u64,
    /// Its keys are `{prefix}0` to `{prefix}{keys - 1}`.
    pub prefix: String,
    /// How many keys it has.
    pub keys: usize,
    /// Writes per second at most; 0 is as many as it can.
    pub writes_per_second: u32,
    /// One write in so many is lost on one node, at random; 0 is none. A key is lost again only after a whole write.
    pub lost_one_in: u32,
}

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const PAUSED: u8 = 2;
const STOP: u8 = 3;

/// A running writer. It stops when it is dropped.
#[derive(Debug)]
pub struct Writer {
    order: Arc<AtomicU8>,
    ledger: Arc<Mutex<Contents>>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing. `ledger` is what the files have so far; versions go on above all of its.
    #[track_caller]
    pub fn start(fleet: &Fleet, settings: WriterSettings, ledger: Contents) -> Writer {
        let order = Arc::new(AtomicU8::new(RUN));
        let (written, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let version = ledger.values().map(|(version, _)| *version).max().unwrap_or(0);
        let stores: Vec<PathBuf> = (0..fleet.count()).map(|node| fleet.store(node)).collect();
        let ledger = Arc::new(Mutex::new(ledger));
        let work = Work {
            random: fastrand::Rng::with_seed(settings.seed),
            order: order.clone(),
            ledger: ledger.clone(),
            written: written.clone(),
            lost: lost.clone(),
            stores: stores.iter().map(|path| open_store(path)).collect(),
            incomplete: vec![false; settings.keys],
            version,
            settings,
        };
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(move || work.run());
        Writer { order, ledger, written, lost, thread: Some(thread.expect("a thread can be started")) }
    }

    /// Stands still, between two writes, until [`Writer::resume`].
    #[track_caller]
    pub fn pause(&self) {
        let _ = self.order.compare_exchange(RUN, PAUSE, Ordering::SeqCst, Ordering::SeqCst);
        wait::until(Duration::from_secs(60), "the writer pauses", || {
            self.assert_alive();
            (self.order.load(Ordering::SeqCst) == PAUSED).then_some(())
        });
    }

    /// Goes on.
    pub fn resume(&self) {
        self.order.store(RUN, Ordering::SeqCst);
    }

    /// Writes so far, each to all nodes or to all but one.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// How many of them one node did not get.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// What every file should have, by acknowledged writes.
    pub fn ledger(&self) -> Contents {
        self.ledger.lock().expect("the writer did not panic").clone()
    }

    /// Stops, and gives the ledger.
    #[track_caller]
    pub fn stop(mut self) -> Contents {
        self.end();
        self.ledger()
    }

    #[track_caller]
    fn assert_alive(&self) {
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        assert!(!ended, "the writer ended by itself");
    }

    fn end(&mut self) {
        self.order.store(STOP, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the writer failed");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

struct Work {
    random: fastrand::Rng,
    order: Arc<AtomicU8>,
    ledger: Arc<Mutex<Contents>>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    stores: Vec<Connection>,
    /// Keys whose last write one node did not get.
    incomplete: Vec<bool>,
    version: i64,
    settings: WriterSettings,
}

impl Work {
    fn run(mut self) {
        let (mut began, mut since) = (Instant::now(), 0_u32);
        loop {
            match self.order.load(Ordering::SeqCst) {
                STOP => return,
                PAUSE => {
                    let _ = self.order.compare_exchange(PAUSE, PAUSED, Ordering::SeqCst, Ordering::SeqCst);
                }
                PAUSED => {
                    thread::sleep(Duration::from_millis(2));
                    (began, since) = (Instant::now(), 0);
                }
                _ => {
                    self.write_one();
                    since += 1;
                    if self.settings.writes_per_second > 0 {
                        let due = Duration::from_secs(1) * since / self.settings.writes_per_second;
                        thread::sleep(due.saturating_sub(began.elapsed()));
                    }
                }
            }
        }
    }

    fn write_one(&mut self) {
        self.version += 1;
        let place = self.random.usize(..self.settings.keys);
        let id = format!("{}{place}", self.settings.prefix);
        let body = format!("{{\"n\":{},\"text\":\"{:016x}\"}}", self.version, self.random.u64(..));
        let one_in = self.settings.lost_one_in;
        let loses = one_in > 0 && !self.incomplete[place] && self.random.u32(..one_in) == 0;
        let lost_on = loses.then(|| self.random.usize(..self.stores.len()));
        for (node, store) in self.stores.iter().enumerate() {
            if lost_on != Some(node) {
                put(store, &id, self.version, &body);
            }
        }
        self.incomplete[place] = lost_on.is_some();
        self.ledger.lock().expect("nobody panics with it").insert(id, (self.version, body));
        self.written.fetch_add(1, Ordering::SeqCst);
        self.lost.fetch_add(u64::from(lost_on.is_some()), Ordering::SeqCst);
    }
}
