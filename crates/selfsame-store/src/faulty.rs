//! A store with faults, from a script or a seed: what a network and a failing server do to any store.
//!
//! It never makes up an answer: what it returns is the inner store's answer, an error that the port allows, or,
//! only where a plan asks for it by name, an answer that was true before.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::Key;

use crate::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, RepairBatch, Scope, Store,
    StoreError, WriteOutcome,
};

/// A call of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Store::identity`].
    Identity,
    /// [`Store::advance_counter`].
    Advance,
    /// [`Store::count`].
    Count,
    /// [`Store::scan`].
    Scan,
    /// [`Store::read`].
    Read,
    /// [`Store::apply`].
    Apply,
    /// [`Store::changes`].
    Changes,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`StoreError::Unavailable`]; the inner store never hears of the call.
    Unavailable,
    /// [`StoreError::Busy`]; the inner store never hears of the call.
    Busy,
    /// The inner store answers after the delay hook is done ([`Faulty::with_delay`]); without a hook, at once.
    Delay,
    /// The inner store answers at once, and its answer is given after the delay hook is done: it may be old by then.
    DelayAnswer,
    /// The inner store does what it was asked, and then the answer is lost: [`StoreError::Unavailable`].
    LoseAnswer,
    /// A read answers what it answered first for each key. A store that does so breaks the port's promise:
    /// for tests of what must notice it. Calls other than reads are left alone.
    Stale,
}

/// Decides which calls go wrong.
pub trait FaultPlan: Send + Sync {
    /// The fault of this call, which is about to be made.
    fn next(&self, call: Call) -> Option<Fault>;
}

impl<F: Fn(Call) -> Option<Fault> + Send + Sync> FaultPlan for F {
    fn next(&self, call: Call) -> Option<Fault> {
        self(call)
    }
}

impl<P: FaultPlan + ?Sized> FaultPlan for Arc<P> {
    fn next(&self, call: Call) -> Option<Fault> {
        (**self).next(call)
    }
}

/// Faults in the order in which they were scripted, per call; without one left, all goes well.
#[derive(Debug, Default)]
pub struct ScriptedFaults {
    script: Mutex<BTreeMap<Call, VecDeque<Option<Fault>>>>,
}

impl ScriptedFaults {
    /// Appends to what awaits `call`; `None` lets one call go well.
    pub fn push(&self, call: Call, fault: Option<Fault>) {
        self.script.lock().entry(call).or_default().push_back(fault);
    }

    /// Forgets what is left of the script: all calls go well from now on.
    pub fn clear(&self) {
        self.script.lock().clear();
    }
}

impl FaultPlan for ScriptedFaults {
    fn next(&self, call: Call) -> Option<Fault> {
        self.script.lock().get_mut(&call).and_then(VecDeque::pop_front).flatten()
    }
}

/// Faults drawn from a seed: the same seed and the same order of calls give the same faults. Stale answers are
/// never drawn.
#[derive(Debug)]
pub struct SeededFaults {
    state: Mutex<u64>,
    weights: Vec<(Fault, u16)>,
}

impl SeededFaults {
    /// No faults yet. A test prints the seed when it fails.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed), weights: Vec::new() }
    }

    /// Of a thousand calls, `per_mille` more are unavailable.
    pub fn unavailable(self, per_mille: u16) -> Self {
        self.with(Fault::Unavailable, per_mille)
    }

    /// Of a thousand calls, `per_mille` more are busy.
    pub fn busy(self, per_mille: u16) -> Self {
        self.with(Fault::Busy, per_mille)
    }

    /// Of a thousand calls, `per_mille` more are delayed.
    pub fn delays(self, per_mille: u16) -> Self {
        self.with(Fault::Delay, per_mille)
    }

    /// Of a thousand calls, `per_mille` more lose their answer.
    pub fn lost_answers(self, per_mille: u16) -> Self {
        self.with(Fault::LoseAnswer, per_mille)
    }

    fn with(mut self, fault: Fault, per_mille: u16) -> Self {
        self.weights.push((fault, per_mille));
        self
    }
}

impl FaultPlan for SeededFaults {
    fn next(&self, _: Call) -> Option<Fault> {
        let mut draw = split_mix(&mut self.state.lock()) % 1000;
        for (fault, weight) in &self.weights {
            match draw.checked_sub(u64::from(*weight)) {
                None => return Some(*fault),
                Some(rest) => draw = rest,
            }
        }
        None
    }
}

/// The next number of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// What a delayed call waits for.
pub type DelayHook = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Lets calls go wrong as a plan says.
pub struct Faulty<S, P> {
    inner: S,
    plan: P,
    delay: Option<DelayHook>,
    /// The first answer for each key, kept for [`Fault::Stale`].
    first_answers: Mutex<BTreeMap<Key, Read>>,
}

impl<S: Store, P: FaultPlan> Faulty<S, P> {
    /// Wraps a store.
    pub fn new(inner: S, plan: P) -> Self {
        Self { inner, plan, delay: None, first_answers: Mutex::default() }
    }

    /// What [`Fault::Delay`] and [`Fault::DelayAnswer`] wait for.
    pub fn with_delay(mut self, hook: DelayHook) -> Self {
        self.delay = Some(hook);
        self
    }

    /// The store beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Runs `work` under `fault`.
    async fn under<T>(
        &self,
        call: Call,
        fault: Option<Fault>,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match fault {
            None | Some(Fault::Stale) => work.await,
            Some(Fault::Unavailable) => Err(StoreError::Unavailable("injected fault".to_owned())),
            Some(Fault::Busy) => Err(StoreError::Busy("injected fault".to_owned())),
            Some(Fault::Delay) => {
                if let Some(hook) = &self.delay {
                    hook(call).await;
                }
                work.await
            }
            Some(Fault::DelayAnswer) => {
                let answer = work.await;
                if let Some(hook) = &self.delay {
                    hook(call).await;
                }
                answer
            }
            Some(Fault::LoseAnswer) => {
                work.await?;
                Err(StoreError::Unavailable("injected fault: the answer was lost".to_owned()))
            }
        }
    }
}

#[async_trait]
impl<S: Store, P: FaultPlan> Store for Faulty<S, P> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.under(Call::Identity, self.plan.next(Call::Identity), self.inner.identity()).await
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        self.under(Call::Advance, self.plan.next(Call::Advance), self.inner.advance_counter(above)).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.under(Call::Count, self.plan.next(Call::Count), self.inner.count()).await
    }

    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        self.under(Call::Scan, self.plan.next(Call::Scan), self.inner.scan(scope, from, page)).await
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        let fault = self.plan.next(Call::Read);
        let fresh = self.under(Call::Read, fault, self.inner.read(keys)).await?;
        let mut first = self.first_answers.lock();
        let answer = |(key, fresh): (&Key, Read)| {
            let first = first.entry(key.clone()).or_insert_with(|| fresh.clone());
            if fault == Some(Fault::Stale) { first.clone() } else { fresh }
        };
        Ok(keys.iter().zip(fresh).map(answer).collect())
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        self.under(Call::Apply, self.plan.next(Call::Apply), self.inner.apply(batch)).await
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        self.under(Call::Changes, self.plan.next(Call::Changes), self.inner.changes(from, limit)).await
    }
}
