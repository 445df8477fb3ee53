//! The table of metrics: every name that is exposed, and what it means. Registry and documentation follow from it.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows until the agent ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What tells the values of a metric apart. Every label has a closed set of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Agent,
    Cause,
    Collection,
    Outcome,
    Reason,
    Replica,
    Verdict,
    Version,
    When,
}

impl Label {
    pub(super) const ALL: [Label; 9] = [
        Label::Collection,
        Label::Replica,
        Label::Agent,
        Label::Cause,
        Label::Outcome,
        Label::Verdict,
        Label::Reason,
        Label::When,
        Label::Version,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Label::Agent => "agent",
            Label::Cause => "cause",
            Label::Collection => "collection",
            Label::Outcome => "outcome",
            Label::Reason => "reason",
            Label::Replica => "replica",
            Label::Verdict => "verdict",
            Label::Version => "version",
            Label::When => "when",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [Label],
    pub(super) help: &'static str,
}

const COLLECTION: &[Label] = &[Label::Collection];
const REPLICA: &[Label] = &[Label::Collection, Label::Replica];
const CAUSE: &[Label] = &[Label::Collection, Label::Replica, Label::Cause];

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

pub(super) const MISMATCHES_FOUND: Family = counter(
    "selfsame_mismatches_found_total",
    CAUSE,
    "Keys that were confirmed to differ on a replica, counted by the owner in each pass that met them. A key that \
     waits for approval is met again by every pass.",
);
pub(super) const DOCUMENTS_REPAIRED: Family = counter(
    "selfsame_documents_repaired_total",
    CAUSE,
    "Repairs that were written to a replica and read back, counted by the owner.",
);
pub(super) const REPAIR_OUTCOMES: Family = counter(
    "selfsame_repair_outcomes_total",
    &[Label::Collection, Label::Replica, Label::Outcome],
    "What became of the keys that differed on a replica or could not be read there, counted by the owner in each \
     pass and each plan that was carried out.",
);
pub(super) const DIVERGENCE_AGE: Family = Family {
    name: "selfsame_divergence_age_seconds",
    kind: Kind::Histogram,
    labels: &[Label::Collection, Label::When],
    help: "How old divergences were, one key on one replica each, when the first pass that met them found them, and \
           when they were repaired; counted by the owner. The age counts from the write that was missed where \
           versions are times, from a certain deletion, or from an expiry; otherwise from the first pass that met it, so that it is 0 then.",
};
pub(super) const RUN_DURATION: Family = Family {
    name: "selfsame_run_duration_seconds",
    kind: Kind::Histogram,
    labels: COLLECTION,
    help: "How long passes took: this agent's share of a run, or the part of it that was due. Waiting for scans is \
           part of it.",
};
pub(super) const BUILD_INFO: Family =
    gauge("selfsame_build_info", &[Label::Version], "Always 1: the version is in the label.");
pub(super) const SHARDS_SCANNED: Family = counter(
    "selfsame_shards_scanned_total",
    REPLICA,
    "Shards that completed scans have read: each scan reads all shards of its replica.",
);
pub(super) const LAST_SCAN_COMPLETED: Family = gauge(
    "selfsame_last_scan_completed_timestamp_seconds",
    REPLICA,
    "When the last scan of the replica was completed. Absent until one is completed since the agent started.",
);
pub(super) const COVERAGE_AGE: Family = gauge(
    "selfsame_coverage_age_seconds",
    REPLICA,
    "How long ago the last completed scan of the replica began. What is older than `coverage_max` proves nothing. \
     Absent while no scan was ever completed.",
);
pub(super) const MISMATCHED_IN_A_ROW: Family = gauge(
    "selfsame_mismatched_passes_in_a_row",
    COLLECTION,
    "Runs in a row in which this agent's shards had mismatches; 0 as soon as all of its shards were in sync in a \
     run. A run over one shard does not count. Absent until a pass since the agent started.",
);
pub(super) const SHARDS: Family = gauge(
    "selfsame_shards",
    &[Label::Collection, Label::Verdict],
    "Shards that this agent owns now, by the last verdict that it gave since it started. Absent until then.",
);
pub(super) const SHARDS_UNKNOWN: Family = gauge(
    "selfsame_shards_unknown",
    &[Label::Collection, Label::Reason],
    "Of `selfsame_shards`, the unknown ones by reason. In sync turns into `stale_index` after `coverage_max`.",
);
pub(super) const KEYS_HELD: Family = gauge(
    "selfsame_keys_held",
    COLLECTION,
    "Keys of the shards that this agent owns that wait for a person, as its last passes saw them.",
);
pub(super) const REPAIRS_PLANNED: Family = gauge(
    "selfsame_repairs_planned",
    COLLECTION,
    "Repairs that wait for approval in this agent's plans. Absent while its journal does not answer.",
);
pub(super) const STORE_ROWS_READ: Family =
    counter("selfsame_store_rows_read_total", REPLICA, "Rows that were read from the replica's store.");
pub(super) const STORE_BYTES_READ: Family = counter(
    "selfsame_store_bytes_read_total",
    REPLICA,
    "Bytes of values that were read from the replica's store. Rows that cannot be read count none.",
);
pub(super) const THROTTLE_WAITS: Family = counter(
    "selfsame_throttle_waits_total",
    REPLICA,
    "Reads that had to wait because the replica's store had been read at its configured rate.",
);
pub(super) const THROTTLE_WAIT: Family = counter(
    "selfsame_throttle_wait_seconds_total",
    REPLICA,
    "How long these reads waited, summed up. A wait counts when it is over.",
);
pub(super) const INDEXED_DOCUMENTS: Family = gauge(
    "selfsame_indexed_documents",
    REPLICA,
    "Live documents in the replica's index. Absent while no scan was ever completed.",
);
pub(super) const UNREADABLE_DOCUMENTS: Family = gauge(
    "selfsame_unreadable_documents",
    REPLICA,
    "Rows of the replica without a single meaning: they are never compared and never written over. Absent while no \
     scan was ever completed.",
);
pub(super) const PEER_UP: Family = gauge(
    "selfsame_peer_up",
    &[Label::Agent],
    "1 if the other agent answered within the last five seconds, else 0. Absent until each was asked once.",
);
pub(super) const CLOCK_SKEW: Family = gauge(
    "selfsame_clock_skew_seconds",
    &[Label::Agent],
    "How far the other agent's clock was certainly off this one's when it last answered. Above `clock_skew_max` nothing \
     is repaired. Absent until it answered once.",
);
pub(super) const WIRE_BYTES: Family = counter(
    "selfsame_wire_bytes_total",
    &[],
    "Encoded bytes of the messages that this agent sent to its peers and of their answers. What it answers itself \
     counts at the agent that asked.",
);

/// All of them, in the order of the documentation.
pub(super) const ALL: [&Family; 23] = [
    &SHARDS,
    &SHARDS_UNKNOWN,
    &MISMATCHES_FOUND,
    &MISMATCHED_IN_A_ROW,
    &DOCUMENTS_REPAIRED,
    &REPAIR_OUTCOMES,
    &DIVERGENCE_AGE,
    &REPAIRS_PLANNED,
    &KEYS_HELD,
    &COVERAGE_AGE,
    &LAST_SCAN_COMPLETED,
    &SHARDS_SCANNED,
    &INDEXED_DOCUMENTS,
    &UNREADABLE_DOCUMENTS,
    &RUN_DURATION,
    &STORE_ROWS_READ,
    &STORE_BYTES_READ,
    &THROTTLE_WAITS,
    &THROTTLE_WAIT,
    &PEER_UP,
    &CLOCK_SKEW,
    &WIRE_BYTES,
    &BUILD_INFO,
];

/// What the process itself is like: collected by the library, under the names that are customary. On Linux only.
pub(super) const PROCESS: [Family; 7] = [
    counter("process_cpu_seconds_total", &[], "Processor time of the process."),
    gauge("process_resident_memory_bytes", &[], "Memory of the process that is in RAM."),
    gauge("process_virtual_memory_bytes", &[], "Address space of the process."),
    gauge("process_open_fds", &[], "File descriptors that are open."),
    gauge("process_max_fds", &[], "File descriptors that may be open."),
    gauge("process_threads", &[], "Threads of the process."),
    gauge("process_start_time_seconds", &[], "When the process started."),
];
