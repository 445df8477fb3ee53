//! Documents a second: our canonical form and digests beside serde_json, sorted and hashed, and beside BLAKE3 over
//! the same bytes, which nothing that hashes documents one by one can beat.

use std::io::Read as _;

use flate2::read::GzDecoder;
use selfsame_core::{
    Cell as StoredCell, Fingerprinter, KeyAs, Mapping, MappingSpec, Row, ShardCount, TimeField, Unit,
    parse_json,
};

use crate::report::{Cell, Report, best_each};

/// The Unicode Character Database, one object a line.
const UNICODE: &[u8] = include_bytes!("../../../testdata/unicode/characters.ndjson.gz");

/// Synthetic documents: enough to be well beyond the caches together.
const SYNTHETIC: usize = 20_000;

pub(crate) fn measure(report: &mut Report) {
    table(report, "fingerprint_unicode", "the Unicode Character Database", &unicode());
    let documents: Vec<String> = (0..SYNTHETIC).map(synthetic).collect();
    table(report, "fingerprint_synthetic", "synthetic products", &documents);
}

fn table(report: &mut Report, name: &'static str, title: &str, documents: &[String]) {
    let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
    let mapping = Mapping::new(spec(), fingerprinter.clone()).expect("the mapping is whole");
    let rows: Vec<Row> = documents.iter().enumerate().map(|(id, text)| row(id, text)).collect();
    let key = [7; 32];
    let each = |digest: &dyn Fn(&str) -> u8| {
        documents.iter().fold(0_u8, |sum, document| sum.wrapping_add(digest(document)))
    };
    let parse = |text: &str| parse_json(text.as_bytes()).expect("the documents are JSON");
    let pipelines: [(&str, &dyn Fn() -> u8); 5] = [
        ("BLAKE3 alone, the limit", &|| {
            each(&|text| blake3::keyed_hash(&key, text.as_bytes()).as_bytes()[0])
        }),
        ("serde_json Value, sorted, BLAKE3", &|| {
            each(&|text| {
                let mut value: serde_json::Value =
                    serde_json::from_str(text).expect("the documents are JSON");
                value.sort_all_objects();
                let bytes = serde_json::to_vec(&value).expect("a value is JSON");
                blake3::keyed_hash(&key, &bytes).as_bytes()[0]
            })
        }),
        ("ours: canonical form and content digest", &|| {
            each(&|text| fingerprinter.content_digest(&parse(text)).0[0])
        }),
        ("of that, parsing", &|| each(&|text| u8::from(parse(text).member("id").is_some()))),
        ("ours: row to document and entry (key, row, content, entry digests)", &|| {
            rows.iter().fold(0_u8, |sum, row| {
                let document = mapping.document(row.clone(), "").expect("the rows are documents");
                sum.wrapping_add(fingerprinter.entry_digest(&document.entry).0[0])
            })
        }),
    ];
    let rate = |time: std::time::Duration| documents.len() as f64 / time.as_secs_f64();
    let rates: Vec<f64> = best_each(&pipelines.map(|(_, work)| work)).into_iter().map(rate).collect();
    let limit = rates[0];
    let bytes: usize = documents.iter().map(String::len).sum();
    let rows = pipelines.iter().zip(&rates).map(|((pipeline, _), rate)| {
        vec![
            Cell::Text((*pipeline).to_owned()),
            Cell::Number(rate / 1e3),
            Cell::Number(rate * (bytes / documents.len()) as f64 / 1e6),
            Cell::Number(rate / limit),
        ]
    });
    let title =
        format!("Fingerprints: {title} ({} documents, {} B each)", documents.len(), bytes / documents.len());
    let columns = ["pipeline", "1000 docs/s", "MB/s", "of the limit"];
    report.table(name, title, &columns, rows.collect());
}

fn unicode() -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(UNICODE).read_to_string(&mut text).expect("the bundled file is whole");
    text.lines().map(str::to_owned).collect()
}

/// A product as shops have them: nested, with numbers, text, lists and members in no order.
fn synthetic(id: usize) -> String {
    let words = ["oak", "steel", "linen", "walnut", "glass", "copper", "wool", "cork"];
    let word = |step: usize| words[(id.wrapping_mul(2_654_435_761) >> step) % words.len()];
    let text: Vec<&str> = (0..80).map(|step| word(step % 29)).collect();
    format!(
        r#"{{"sku":"P-{id:08}","title":"{} {} {}","price":{}.{:02},"currency":"EUR","stock":{},"tags":["{}","{}","{}"],"dimensions":{{"width":{},"height":{},"depth":{},"unit":"mm"}},"supplier":{{"name":"{} & {} GmbH","country":"DE","rating":4.{}}},"available":{},"description":"{}","images":["https://img.example/{id}/1.jpg","https://img.example/{id}/2.jpg"],"attributes":{{"colour":"{}","material":"{}","weight":{}e-3,"origin":null}}}}"#,
        word(3),
        word(5),
        word(7),
        id % 997,
        id % 100,
        id % 53,
        word(1),
        word(2),
        word(4),
        id % 400,
        id % 700,
        id % 90,
        word(6),
        word(8),
        id % 10,
        id.is_multiple_of(3),
        text.join(" "),
        word(9),
        word(10),
        id % 9000,
    )
}

fn spec() -> MappingSpec {
    MappingSpec {
        key: vec!["key".into()],
        key_as: KeyAs::Native,
        document: Some("body".into()),
        columns: None,
        version: Some(TimeField { field: "updated_at".into(), unit: Unit::Millis }),
        expiry: None,
        deletion: None,
        ignore_fields: vec![],
        shards: ShardCount::new(16).expect("16 shards are allowed"),
        document_bytes_max: 8 << 20,
    }
}

fn row(id: usize, text: &str) -> Row {
    Row::new(vec![
        ("key".into(), StoredCell::Integer(id as i64)),
        ("body".into(), StoredCell::Text(text.to_owned())),
        ("updated_at".into(), StoredCell::Integer(1_700_000_000_000 + id as i64)),
    ])
}
