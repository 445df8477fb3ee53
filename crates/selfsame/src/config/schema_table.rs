//! The table of settings. A new setting is a row here, and a field that reads it; nothing else knows its name,
//! its bounds or its default.

use super::schema::{Choice, Kind, Need, Setting};
use Kind::{
    Address, Boolean, ChoiceOrSection, Duration, Every, Field, Fields, Name, Names, Path, Replicas, Section,
    Sections, Share, Size, Whole,
};
use Need::{Default, Group, NotBuilt, Optional, Required};

const fn row(path: &'static str, kind: Kind, need: Need, meaning: &'static str) -> Setting {
    Setting { path, kind, need, meaning }
}

/// A setting of a later version. Its kind is never looked at.
const fn later(path: &'static str, meaning: &'static str) -> Setting {
    row(path, Section, NotBuilt, meaning)
}

const fn words(built: &'static [&'static str]) -> Kind {
    Kind::Choice(Choice { built, not_built: &[] })
}

const fn some_words(built: &'static [&'static str], not_built: &'static [&'static str]) -> Kind {
    Kind::Choice(Choice { built, not_built })
}

const UNITS: Kind = some_words(&["s", "ms", "us", "rfc3339", "counter"], &["timestamp"]);

/// The units that are times: a counter is none.
const TIMES: Kind = some_words(&["s", "ms", "us", "rfc3339"], &["timestamp"]);

/// All settings, in the order of the documentation. Defaults are those of the design; bounds that it does not
/// give are guesses at what can only be a mistake.
pub(super) const SETTINGS: &[Setting] = &[
    row("fleet", Name, Required, "The fleet's name. Agents of different fleets do not talk to each other."),
    row("agents", Sections, Required, "The Selfsame processes, one beside each node or group of nodes."),
    later("agents.dns", "Find the agents by the DNS name of a headless service."),
    later("agents.port", "The port of agents that were found by DNS."),
    row("agents[].name", Name, Required, "The agent's name, as given to `selfsame agent --name`."),
    row(
        "agents[].grpc",
        Address,
        Required,
        "The agent listens here, and the other agents and the command line dial it.",
    ),
    row("agents[].http", Address, Required, "Metrics, health and the web page."),
    row("agents[].data", Path, Required, "The directory of the agent's journal and indexes. Keep it."),
    row("agents[].nodes", Names, Required, "The nodes that this agent reads and repairs."),
    row("nodes", Sections, Required, "The running stores. Each is attached to exactly one agent."),
    row("nodes[].name", Name, Required, "The node's name."),
    row(
        "nodes[].store",
        some_words(&["sqlite"], &["postgres", "meilisearch"]),
        Required,
        "The kind of store.",
    ),
    row("nodes[].path", Path, Required, "The database file (SQLite)."),
    row(
        "nodes[].setup",
        words(&["auto", "manual"]),
        Default("auto"),
        "`auto`: the agent makes its own tables and triggers, named `_selfsame_…`, at start. `manual`: you make \
         them, from `selfsame setup sqlite --print-sql`.",
    ),
    later("nodes[].url", "The URL of the store (PostgreSQL, Meilisearch)."),
    later("nodes[].password_file", "The file with the password (PostgreSQL)."),
    later("nodes[].tls_ca", "The certificate authority of the store (PostgreSQL)."),
    later("nodes[].api_key_file", "The file with the API key (Meilisearch)."),
    row("collections", Sections, Required, "The sets of documents that should be the same on all replicas."),
    row(
        "defaults",
        Section,
        Group,
        "Settings of all collections, `name` apart. A collection's own come first.",
    ),
    row("collections[].name", Name, Required, "The collection's name."),
    row("collections[].replicas", Replicas, Required, "The nodes that hold a copy: at least two."),
    row(
        "collections[].replicas[].node",
        Name,
        Required,
        "The node, where a replica has settings of its own.",
    ),
    row("collections[].source", Section, Required, "Where the documents are in each node."),
    row("collections[].source.table", Field, Required, "The table (SQLite)."),
    later("collections[].source.index", "The index (Meilisearch)."),
    row(
        "collections[].source.document",
        Field,
        Optional,
        "The column that holds the document as JSON. Without it, the columns are the document.",
    ),
    row(
        "collections[].source.columns",
        Fields,
        Optional,
        "Without `document`: the columns that are content. Without both, all columns that have no other role.",
    ),
    row("collections[].key", Fields, Required, "The fields of the key. Unique and not null."),
    row(
        "collections[].key_as",
        some_words(&["native"], &["string"]),
        Default("native"),
        "How keys are compared. `native`: 1 and \"1\" are two keys.",
    ),
    row(
        "collections[].version",
        Section,
        Optional,
        "What grows with each write. Without it no write is newer than another, and less can be repaired.",
    ),
    row("collections[].version.field", Field, Required, "A column, else a member of the JSON column."),
    row(
        "collections[].version.unit",
        UNITS,
        Required,
        "Seconds, milliseconds or microseconds since 1970, RFC 3339 text, or a counter.",
    ),
    row("collections[].expiry", Section, Optional, "When a document expires. Expired documents are deleted."),
    row("collections[].expiry.field", Field, Required, "A column, else a member of the JSON column."),
    row(
        "collections[].expiry.unit",
        TIMES,
        Required,
        "As the version's, but for `counter`: that is no time.",
    ),
    row(
        "collections[].deletion",
        Section,
        Optional,
        "Where a document says that it is deleted. A mark travels to all replicas as a newer document does.",
    ),
    row("collections[].deletion.field", Field, Required, "A column, else a member of the JSON column."),
    row(
        "collections[].deletion.unit",
        TIMES,
        Required,
        "As the expiry's. Null, 0 or no field at all is no mark.",
    ),
    row(
        "collections[].ignore_fields",
        Fields,
        Optional,
        "Fields that may differ, such as a view counter. A repair leaves the target's own.",
    ),
    later("collections[].ignore_keys", "Keys that are left alone."),
    row(
        "collections[].shards",
        Whole { min: 1, max: selfsame_core::ShardCount::MAX as u64 },
        Default("16"),
        "How many shares the keys are divided into. Each is compared, repaired and reported by itself.",
    ),
    later("collections[].shard_field", "The field by which a router has sharded the documents."),
    row("collections[].schedule", Section, Group, "When the replicas are compared."),
    row(
        "collections[].schedule.exchange",
        // A shorter interval would be a busy loop, a longer one a forgotten fleet.
        Every { min: "1s", max: "31d" },
        Default("every 6h"),
        "How often all shards are scanned, compared and repaired. `off`: only when somebody asks.",
    ),
    later("collections[].schedule.scan", "When the replicas are scanned, if not with the exchange."),
    later("collections[].schedule.sampled", "When a sample of the keys is read past the index."),
    later("collections[].schedule.full", "When all keys are read past the index."),
    later("collections[].schedule.timezone", "The time zone of cron schedules."),
    row(
        "collections[].repair",
        words(&["auto", "approve", "off"]),
        Default("auto"),
        "`auto`: repair within the brakes. `approve`: make a plan, and wait for `selfsame approve`. `off`: never \
         write.",
    ),
    row(
        "collections[].first_pass",
        words(&["plan", "auto"]),
        Default("plan"),
        "What happens at the first comparison of a collection or a replica. `plan`: it waits for `selfsame \
         approve`. `auto`: as `repair` says.",
    ),
    row("collections[].policy", Section, Group, "Which document wins."),
    row(
        "collections[].policy.winner",
        ChoiceOrSection(Choice { built: &["newest", "hold"], not_built: &[] }),
        Default("newest"),
        "`newest`: the highest version. `hold`: nobody; differences are only reported. `{ prefer: NODE }`: that \
         node's document.",
    ),
    row("collections[].policy.winner.prefer", Name, Required, "The node whose documents win."),
    row(
        "collections[].policy.ties",
        words(&["majority", "hold"]),
        Default("majority"),
        "One version with different contents. `majority`: what more than half of all replicas hold, else hold. \
         `hold`: a person decides.",
    ),
    row(
        "collections[].policy.observed_deletes",
        words(&["hold", "delete", "restore"]),
        Default("hold"),
        "A document that was there and is gone, nobody knows why, and no majority tells. `hold`: a person decides. \
         `delete`, `restore`: if all replicas answered.",
    ),
    row(
        "collections[].settle",
        // Shorter than any write takes to reach all replicas, it would confirm what is still under way.
        Duration { min: "10ms", max: "5m" },
        Default("2s"),
        "Between the two reads that confirm a difference. Longer than a write takes to reach all replicas.",
    ),
    row(
        "collections[].clock_skew_max",
        Duration { min: "1s", max: "24h" },
        Default("5m"),
        "A version further in the future is a broken clock, and is held.",
    ),
    row(
        "collections[].coverage_max",
        Duration { min: "1s", max: "366d" },
        Default("24h"),
        "The age from which a completed scan proves nothing, and the verdict is unknown.",
    ),
    row(
        "collections[].tombstone_retention",
        // Shorter than an outage that anybody plans for, deletions would come back with the replica.
        Duration { min: "1m", max: "3660d" },
        Default("10d"),
        "How long a replica remembers keys that were there and are gone. Longer than any replica stays away.",
    ),
    row(
        "collections[].brakes",
        Section,
        Group,
        "Limits beyond which repairs become a plan that you approve.",
    ),
    row(
        "collections[].brakes.vanished_share_max",
        Share,
        Default("5%"),
        "The share of its keys that a replica may lose within a day, from 10 keys on; each shard is counted by itself \
         too. Beyond it, or if a shard is emptied, the replica is held.",
    ),
    row(
        "collections[].brakes.repair_share_max",
        Share,
        Default("10%"),
        "The share of a shard's keys that one run may repair, and of a replica's rows that are repaired in a day, \
         from 50 keys on.",
    ),
    row(
        "collections[].brakes.deletes_max",
        Whole { min: 0, max: u64::MAX },
        Default("1000"),
        "The deletes that one run may make in a shard, and that are made on a replica in a day.",
    ),
    row("collections[].throttle", Section, Group, "Limits of what is asked of each store."),
    row(
        "collections[].throttle.rows_per_second",
        Whole { min: 1, max: 1_000_000_000 },
        Default("20000"),
        "Rows read in a second.",
    ),
    row(
        "collections[].throttle.bytes_per_second",
        Size { min: "1KiB", max: "1TiB" },
        Default("32MiB"),
        "Bytes read in a second.",
    ),
    row(
        "collections[].document_bytes_max",
        // A batch of repairs has at most 16 MiB, and a document must fit into one.
        Size { min: "1KiB", max: "16MiB" },
        Default("8MiB"),
        "Larger documents are not compared: they are counted, named, and make the verdict unknown.",
    ),
    row(
        "collections[].confirm_keys_max",
        Whole { min: 1, max: 1_000_000 },
        Default("10000"),
        "How many keys of a shard are confirmed at a time.",
    ),
    row(
        "collections[].apply_within",
        Duration { min: "100ms", max: "10m" },
        Default("10s"),
        "A repair that starts later than this after its confirm first reads again.",
    ),
    later("collections[].echo_ttl", "How long repairs are remembered for consumers of changes."),
    later("collections[].maintenance", "Windows in which nothing is written."),
    row(
        "collections[].sweep",
        Section,
        Group,
        "Deletion of documents that have expired on all replicas alike.",
    ),
    row(
        "collections[].sweep.enabled",
        Boolean,
        Default("false"),
        "Delete them, after each run's repairs. Needs an `expiry`. Expired documents that differ are deleted in any case.",
    ),
    row(
        "collections[].sweep.keys_max",
        Whole { min: 1, max: 10_000 },
        Default("1000"),
        "How many of them one run deletes from a shard. They count neither as mismatches nor for the brakes.",
    ),
    row("collections[].feed", Section, Group, "The store's own feed of changes."),
    row(
        "collections[].feed.enabled",
        Boolean,
        Default("false"),
        "Read it, where the store has one: a client's delete in it is certain, and needs no majority.",
    ),
    later("collections[].feed.allow_unbounded_wal", "Reading a feed that may fill the store's disk."),
    later("collections[].allow_cascade", "Repairs of tables whose rows delete others."),
    row("journal", Section, Group, "What each agent's journal keeps."),
    row("journal.before_images", Boolean, Default("true"), "Keep the rows that repairs replace, for `undo`."),
    row(
        "journal.undo_retention",
        Duration { min: "1m", max: "3660d" },
        Default("7d"),
        "For how long they are kept. At most `retention`.",
    ),
    row(
        "journal.retention",
        Duration { min: "1m", max: "3660d" },
        Default("30d"),
        "For how long runs are kept.",
    ),
    row("claims", Section, Group, "How agents agree on who compares a shard."),
    row(
        "claims.engine",
        some_words(&["replicas"], &["kubernetes", "postgres", "etcd", "redis"]),
        Default("replicas"),
        "`replicas`: a majority of the agents that hold a replica of the shard grants it.",
    ),
    later("claims.lease", "How long a claim keeps other agents away without renewal."),
    row(
        "secret_file",
        Path,
        Optional,
        "A file whose content keys the digests, so that nobody who can write documents can craft collisions. The \
         same on every agent.",
    ),
    row("insecure", Boolean, Default("false"), "Listen and dial beyond loopback without TLS."),
    later("tls", "Certificates of the agents."),
];
