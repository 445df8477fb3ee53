//! Files that are wrong, each with all that is said about it.

use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;

use super::parse;

const BASE: &str = include_str!("testdata/base.yaml");
const FULL: &str = include_str!("testdata/full.yaml");

/// A name, what is replaced in the base file, and by what. An empty `from` appends.
type Case = (&'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    // Names.
    (
        "unknown names, near and far",
        &[
            ("", "settel: 2s\n"),
            (
                "    key: [id]\n",
                "    key: [id]\n    clockSkewMax: 5m\n    rows_per_second: 5\n    frobnicate: 1\n",
            ),
            ("document: body", "documents: body"),
        ],
    ),
    (
        "unknown names in small mappings",
        &[
            (
                "    key: [id]\n",
                "    key: [id]\n    brakes: { hand: 1 }\n    throttle: { rows_per_seconds: 1 }\n",
            ),
            ("data: ./a,", "data: ./a, port: 1, host: x,"),
        ],
    ),
    ("a name under defaults", &[("", "defaults: { name: products, nodes: [x] }\n")]),
    (
        "a name that stands twice, and another problem",
        &[("    key: [id]\n", "    key: [id]\n    key: [id]\n    settle: 2\n")],
    ),
    ("a sweeper without an expiry", &[("    key: [id]\n", "    key: [id]\n    sweep: { enabled: true }\n")]),
    ("syntax", &[("replicas: [node-a, node-b, node-c]", "replicas: [node-a, node-b")]),
    // Not built.
    (
        "settings that are not built",
        &[
            (
                "    key: [id]\n",
                "    key: [id]\n    shard_field: s\n    ignore_keys: [1]\n    feed: { allow_unbounded_wal: true }\n    \
             maintenance: []\n    allow_cascade: true\n    echo_ttl: 5m\n    key_as: string\n    brakes: { \
             vanished_share_max: 5% }\n    schedule: { exchange: 30 4 * * 0, sampled: 17 3 * * *, timezone: \
             Europe/Berlin }\n",
            ),
            ("unit: ms }\n    replicas", "unit: timestamp }\n    replicas"),
            ("", "tls: { cert: c.pem, key: k.pem, ca: ca.pem, san_allow: [x] }\nclaims: { engine: etcd }\n"),
        ],
    ),
    (
        "stores that are not built",
        &[
            (
                "{ name: node-b, store: sqlite, path: ./b.db }",
                "{ name: node-b, store: postgres, url: \"postgresql://u:secret@h/d\", password_file: p }",
            ),
            ("{ name: node-c, store: sqlite, path: ./c.db }", "{ name: node-c, store: sqlte, path: ./c.db }"),
        ],
    ),
    (
        "agents by DNS are not built",
        &[(
            "agents:\n  - { name: a, grpc: 127.0.0.1:7401, http: 127.0.0.1:7501, data: ./a, nodes: [node-a] }\n  \
             - { name: b, grpc: 127.0.0.1:7402, http: 127.0.0.1:7502, data: ./b, nodes: [node-b] }\n  - { \
             name: c, grpc: 127.0.0.1:7403, http: 127.0.0.1:7503, data: ./c, nodes: [node-c] }\n",
            "agents: { dns: selfsame.svc, port: 7400 }\n",
        )],
    ),
    // Values.
    (
        "values without their units",
        &[(
            "    key: [id]\n",
            "    key: [id]\n    settle: 2\n    clock_skew_max: 5 minutes\n    coverage_max: 1M\n    \
             document_bytes_max: 8mb\n    brakes: { repair_share_max: 5, deletes_max: 1e3 }\n    throttle: { \
             rows_per_second: lots, bytes_per_second: 1.5GiB }\n    schedule: { exchange: 6h }\n",
        )],
    ),
    (
        "values out of range",
        &[(
            "    key: [id]\n",
            "    key: [id]\n    shards: 5000\n    settle: 1h\n    document_bytes_max: 17MiB\n    \
             confirm_keys_max: 0\n    apply_within: 0s\n    brakes: { repair_share_max: 110% }\n    throttle: { \
             rows_per_second: 0 }\n    schedule: { exchange: every 10ms }\n",
        )],
    ),
    (
        "words that are not known",
        &[
            (
                "    key: [id]\n",
                "    key: [id]\n    repair: automatic\n    first_pass: no\n    policy: { winner: newst, ties: hold it }\n",
            ),
            ("unit: ms", "unit: millis"),
            ("", "insecure: yes\n"),
        ],
    ),
    (
        "values of the wrong kind",
        &[
            ("document: body", "document: [body]"),
            (
                "    key: [id]\n",
                "    key: id\n    settle: { s: 2 }\n    brakes: 5\n    policy: [newest]\n    ignore_fields: [a, [b]]\n",
            ),
            ("nodes: [node-a] }", "nodes: node-a }"),
            ("replicas: [node-a, node-b, node-c]", "replicas: node-a"),
            ("", "journal: [1]\n"),
        ],
    ),
    (
        "values that were forgotten",
        &[
            ("unit: ms", "unit:"),
            (
                "    key: [id]\n",
                "    key: [id]\n    settle:\n    expiry:\n    brakes:\n    throttle: ~\n    shards: null\n",
            ),
            ("fleet: shop", "fleet:"),
        ],
    ),
    // Missing.
    ("nothing", &[(BASE, "")]),
    ("no mapping", &[(BASE, "- a\n")]),
    ("almost nothing", &[(BASE, "fleet: shop\n")]),
    ("empty lists", &[(BASE, "fleet: shop\nagents: []\nnodes: []\ncollections: []\n")]),
    (
        "items without names",
        &[(
            BASE,
            "fleet: shop\nagents: [{}]\nnodes: [{}, x]\ncollections:\n  - {}\n  - name: p\n    source: {}\n    \
             version: {}\n    policy: { winner: {} }\n    replicas: [{}, {}]\n",
        )],
    ),
    // Agents and nodes.
    (
        "names that are no names, and twice",
        &[
            ("fleet: shop", "fleet: my shop"),
            ("name: b,", "name: a,"),
            ("name: node-c,", "name: node-a,"),
            ("", "  - { name: products, source: { table: t }, key: [id], replicas: [node-a, node-b] }\n"),
        ],
    ),
    (
        "attachments",
        &[("nodes: [node-a]", "nodes: [node-a, node-b, node-d]"), ("nodes: [node-c]", "nodes: []")],
    ),
    (
        "shared addresses, directories and files",
        &[
            ("grpc: 127.0.0.1:7402", "grpc: localhost:7401"),
            ("http: 127.0.0.1:7503", "http: 127.0.0.1:7501"),
            ("data: ./b", "data: ./x/../a"),
            ("path: ./c.db", "path: a.db"),
        ],
    ),
    (
        "an address beyond loopback",
        &[
            ("grpc: 127.0.0.1:7401", "grpc: db-a:7401"),
            ("grpc: 127.0.0.1:7402", "grpc: 0.0.0.0:7402"),
            ("http: 127.0.0.1:7503", "http: 0.0.0.0:7503"),
        ],
    ),
    (
        "half addresses",
        &[
            ("grpc: 127.0.0.1:7401", "grpc: 7401"),
            ("http: 127.0.0.1:7503", "http: \"127.0.0.1:\""),
            ("grpc: 127.0.0.1:7402", "grpc: 127.0.0.1:0"),
        ],
    ),
    ("a secret that is not there", &[("", "secret_file: none\n")]),
    ("an undo that outlives its run", &[("", "journal: { retention: 1d }\n")]),
    // Collections.
    (
        "replicas that do not exist, twice, alone",
        &[
            (
                "replicas: [node-a, node-b, node-c]",
                "replicas: [node-a, node-x, node-a]\n    policy: { winner: { prefer: node-c } }",
            ),
            ("", "  - { name: q, source: { table: t }, key: [id], replicas: [nodeb] }\n"),
        ],
    ),
    (
        "replicas that cannot be compared",
        &[(
            "replicas: [node-a, node-b, node-c]",
            "expiry: { field: e, unit: s }\n    replicas:\n      - node-a\n      - { node: node-b, version: { unit: \
             counter } }\n      - { node: node-c, version: ~, expiry: ~, key: [x, y] }",
        )],
    ),
    (
        "overrides that are none",
        &[(
            "replicas: [node-a, node-b, node-c]",
            "replicas:\n      - { node: node-a, shards: 5, sorce: { table: t } }\n      - { node: node-b, source: { \
             document: b, columns: [c] } }\n      - [node-c]",
        )],
    ),
    (
        "a mapping that contradicts itself",
        &[
            ("    key: [id]\n", "    key: [id, updated_at]\n    expiry: { field: gone, unit: counter }\n"),
            (
                "",
                "  - { name: q, source: { table: t, document: id, columns: [a] }, key: [id], replicas: [node-a, node-b] }\n",
            ),
            (
                "",
                "  - { name: r, source: { table: t, document: id }, key: [id], replicas: [node-a, node-b] }\n",
            ),
            (
                "",
                "  - { name: s, source: { table: t }, key: [id], ignore_fields: [id], replicas: [node-a, node-b] }\n",
            ),
            ("", "  - { name: t, source: { table: _selfsame_t }, key: [], replicas: [node-a, node-b] }\n"),
        ],
    ),
    (
        "what is wrong under defaults is said once",
        &[
            ("", "  - { name: q, source: { table: t }, key: [id], replicas: [node-a, node-b] }\n"),
            (
                "",
                "defaults:\n  settle: soon\n  version: { unit: ms }\n  expiry: { unit: ms }\n  policy: { winner: { prefer: node-z } }\n",
            ),
        ],
    ),
    (
        "what is wrong at an anchor is said there",
        &[(
            "document: body }",
            "document: body }\n    settle: &t 2x\n    apply_within: *t\n    clock_skew_max: *t",
        )],
    ),
];

fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(BASE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the base has `{from}`");
        match from.is_empty() {
            true => text + to,
            false => text.replacen(from, to, 1),
        }
    })
}

#[test]
fn every_mistake_has_its_line_and_a_way_out() {
    let mut report = String::new();
    for (name, edits) in CASES {
        let text = edited(edits);
        let problems = parse(&text, Path::new("/nowhere"), "fleet.yaml").expect_err(name);
        writeln!(report, "## {name}\n\n{problems}\n").unwrap();
    }
    insta::assert_snapshot!("bad", report);
}

#[test]
fn no_message_shows_a_password() {
    let text = edited(&[("store: sqlite,", "store: postgres, url: \"postgresql://u:secret@h/d\",")]);
    assert!(!parse(&text, Path::new(""), "f").unwrap_err().to_string().contains("secret@"));
}

/// Pieces of YAML and of settings, to be put anywhere.
fn pieces() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "\n",
        " ",
        "  - ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "~",
        "null",
        "*a",
        "&a ",
        "<<: *a",
        "!!int ",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "# ",
        "--- ",
        "? ",
        "\t",
        "%",
        "5",
        "-1",
        "1e999",
        ".nan",
        "0x",
        "every ",
        "name",
        "replicas",
        "settle: ",
        "defaults:\n",
        "source: ",
        "prefer: ",
        "99999999999999999999d",
        "\u{feff}",
        "é",
        "\0",
    ]);
    prop_oneof![fixed.prop_map(str::to_owned), ".{0,8}"]
}

proptest! {
    #[test]
    fn no_text_panics(text in "(.|\n){0,200}") {
        let _ = parse(&text, Path::new("/nowhere"), "f");
    }

    #[test]
    fn no_damage_to_a_file_panics_and_every_refusal_says_why(
        full in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..30, pieces()), 1..5),
    ) {
        let mut chars: Vec<char> = if full { FULL } else { BASE }.chars().collect();
        for (at, cut, piece) in damage {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        let text: String = chars.into_iter().collect();
        if let Err(problems) = parse(&text, Path::new("/nowhere"), "f") {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.list().iter().all(|problem| problem.place.is_known()), "{problems}");
        }
    }
}
