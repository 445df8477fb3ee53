//! What keeps the writer going while everything else happens: a thread at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use parking_lot::Mutex;

use super::cancel::Cancel;
use super::tail::Tails;
use super::writer::Writer;

/// Writes a second, each to three nodes. More would say no more, and would take the cores from the agents.
const WRITES_PER_SECOND: u32 = 600;

/// A thread that fell behind further than this, on a busy machine, does not catch up in a burst.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// How often the change streams are followed.
const TAIL_EVERY: Duration = Duration::from_millis(200);

const POLL: Duration = Duration::from_millis(10);

/// Traffic that goes on by itself.
pub(super) trait Traffic {
    /// Begins.
    fn start(&mut self);
    /// Lets some of it pass.
    fn wait(&mut self) -> Result<()>;
    /// Ends it, with the first error that there was.
    fn stop(&mut self) -> Result<()>;
}

/// A thread that writes, and one that follows the change streams. Both end with this value.
pub(super) struct Threads {
    pub(super) writer: Arc<Mutex<Writer>>,
    pub(super) tails: Arc<Mutex<Tails>>,
    pub(super) cancel: Cancel,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<Result<()>>>,
}

impl Threads {
    /// Nothing runs yet.
    pub(super) fn new(writer: Arc<Mutex<Writer>>, tails: Arc<Mutex<Tails>>, cancel: Cancel) -> Threads {
        Threads { writer, tails, cancel, stop: Arc::default(), running: Vec::new() }
    }
}

impl Traffic for Threads {
    fn start(&mut self) {
        let (writer, stop) = (self.writer.clone(), self.stop.clone());
        self.running.push(thread::spawn(move || write(&writer, &stop)));
        let (tails, stop) = (self.tails.clone(), self.stop.clone());
        self.running.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                tails.lock().follow()?;
                thread::sleep(TAIL_EVERY);
            }
            Ok(())
        }));
    }

    fn wait(&mut self) -> Result<()> {
        self.cancel.check()?;
        if self.running.iter().any(JoinHandle::is_finished) {
            self.stop()?;
        }
        thread::sleep(POLL);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            thread.join().map_err(|_| anyhow!("a thread of the demo panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // On the way out after another error, which is the one to report.
        let _ = self.stop();
    }
}

fn write(writer: &Mutex<Writer>, stop: &AtomicBool) -> Result<()> {
    let pause = Duration::from_secs(1) / WRITES_PER_SECOND;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        writer.lock().step()?;
        next += pause;
        let now = Instant::now();
        if next > now {
            thread::sleep(next - now);
        } else if now - next > BEHIND_MAX {
            next = now;
        }
    }
    Ok(())
}
