//! The metrics of the table as objects of the library, and their text.

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

use super::table::{Family, Kind, Label};

/// Upper bounds of durations in seconds: from a pass that finds all roots equal to one that waits for the scan of
/// a large store.
const DURATION_BUCKETS: [f64; 12] =
    [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0];

/// Upper bounds of ages in seconds: from a write that is just on its way to one that nobody repaired for a month.
const AGE_BUCKETS: [f64; 10] =
    [1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0];

/// A set of metrics. One without values is not exposed.
pub(super) struct Families {
    registry: Registry,
}

impl Families {
    /// None yet.
    pub(super) fn new() -> Families {
        Families { registry: Registry::new() }
    }

    /// Adds a counter, without values.
    pub(super) fn counters(&self, family: &Family) -> CounterVec {
        debug_assert_eq!(family.kind, Kind::Counter);
        self.add(CounterVec::new(Opts::new(family.name, family.help), &names(family)))
    }

    /// Adds a gauge, without values.
    pub(super) fn gauges(&self, family: &Family) -> GaugeVec {
        debug_assert_eq!(family.kind, Kind::Gauge);
        self.add(GaugeVec::new(Opts::new(family.name, family.help), &names(family)))
    }

    /// Adds a histogram of durations, without values.
    pub(super) fn durations(&self, family: &Family) -> HistogramVec {
        self.histograms(family, &DURATION_BUCKETS)
    }

    /// Adds a histogram of ages, without values.
    pub(super) fn ages(&self, family: &Family) -> HistogramVec {
        self.histograms(family, &AGE_BUCKETS)
    }

    fn histograms(&self, family: &Family, buckets: &[f64]) -> HistogramVec {
        debug_assert_eq!(family.kind, Kind::Histogram);
        let options = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, &names(family)))
    }

    /// Adds what the library knows of this process.
    #[cfg(target_os = "linux")]
    pub(super) fn process(&self) {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process)).expect("a process is added to a set once");
    }

    /// The library knows nothing of processes elsewhere.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn process(&self) {}

    fn add<C>(&self, made: prometheus::Result<C>) -> C
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        let made = made.expect("names and labels of the table are valid: a test makes them all");
        let registered = self.registry.register(Box::new(made.clone()));
        registered.expect("each row of the table is added to a set once");
        made
    }

    /// All values, as text.
    pub(super) fn text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("what a registry gathers has names and values, and a string takes it all")
    }
}

fn names(family: &Family) -> Vec<&'static str> {
    family.labels.iter().copied().map(Label::as_str).collect()
}
