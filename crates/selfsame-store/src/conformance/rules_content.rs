//! Rules of what documents mean. Expectations are values spelled out by hand.

use selfsame_core::{Cell, MappingSpec, NonFinite, Row, Value, WallMicros};

use super::bench::{Bench, Fixture, Stop, WHOLE, ensure, key_of, mapping};
use super::sample::{Sample, number, object};
use super::{Column, ColumnKind, Table};
use crate::{Read, Scope};

/// Version, expiry and deletion mark are read as configured.
pub(super) async fn entry_fields(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let expiring = |id, text: &str| Sample { expires: Some(text.to_owned()), ..bench.sample(id) };
    let cases = [
        (bench.sample(1).at_version(1_700_000_000_123), None),
        (bench.sample(2).at_version(-5), None),
        (Sample { version_millis: None, ..bench.sample(3) }, None),
        (expiring(4, "1970-01-01T00:00:01.0000019Z"), Some(1_000_001)),
        (expiring(5, "2026-03-01T12:00:00+02:00"), Some(1_772_359_200_000_000)),
        (bench.sample(6).marked(), None),
        (bench.sample(7).with_views(9).with_note("other"), None),
    ];
    for (sample, expiry) in &cases {
        fixture.put(sample).await?;
        let expiry = expiry.map(WallMicros);
        let read = fixture.read(sample).await?;
        let sorted = match &read {
            Read::Live(document) => sample.deleted_millis.is_none().then_some(document),
            Read::Marked(document) => sample.deleted_millis.is_some().then_some(document),
            Read::Absent | Read::Unreadable(_) => None,
        };
        let Some(document) = sorted else {
            return Err(Stop::Failed(format!("{sample:?} reads as {read:?}")));
        };
        let seen = fixture.walk(Scope::All, WHOLE).await?;
        let key = fixture.key(sample);
        let scanned = seen.iter().find(|row| key_of(row) == Some(&key));
        ensure!(
            scanned.is_some_and(|row| row.as_ref() == Ok(document)),
            "key {key} reads as {document:?}, and a scan sees {scanned:?}"
        );
        if let Some(difference) = sample.difference(document, &fixture.table, expiry) {
            return Err(Stop::Failed(difference));
        }
    }
    Ok(())
}

/// JSON of every shape has the content digest of its exact value.
pub(super) async fn documents(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let exact = bench.supports.exact_numbers;
    if !exact {
        bench.skip("numbers beyond a 64-bit float: the harness says that they are not kept".to_owned());
    }
    let plain = plain_documents().into_iter();
    let numbers = exact_numbers().into_iter().filter(|_| exact);
    for (id, (json, value)) in (0..).zip(plain.chain(numbers)) {
        let row = with_body(&fixture, &bench.sample(id), &json);
        expect_content(bench, &fixture, id, row, &value, &json).await?;
    }
    Ok(())
}

/// The row of a sample with another body.
fn with_body(fixture: &Fixture, sample: &Sample, json: &str) -> Row {
    let cells = fixture.row(sample).cells().to_vec().into_iter().map(|(name, cell)| {
        let cell = if name == "body" { Cell::Json(json.to_owned()) } else { cell };
        (name, cell)
    });
    Row::new(cells.collect())
}

async fn expect_content(
    bench: &Bench<'_>,
    fixture: &Fixture,
    id: i64,
    row: Row,
    value: &Value,
    what: &str,
) -> Result<(), Stop> {
    fixture.replica.put(&row).await?;
    let sample = bench.sample(id);
    let expected = fixture.table.mapping.fingerprinter().content_digest(value);
    let document = fixture.document(&sample).await?;
    let shown: String = what.chars().take(200).collect();
    ensure!(document.entry.content == expected, "a read gives {shown} another content than it has");
    let key = fixture.key(&sample);
    let seen = fixture.walk(Scope::All, WHOLE).await?;
    let scanned = seen.iter().flatten().find(|document| document.entry.key == key);
    ensure!(
        scanned.is_some_and(|document| document.entry.content == expected),
        "a scan gives {shown} another content than it has"
    );
    Ok(())
}

fn plain_documents() -> Vec<(String, Value)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let integer = |value: i64| Value::Number(value.into());
    let mut deep = (r#"{"a":"#.repeat(60) + "[1]" + &"}".repeat(60), Value::Array(vec![integer(1)]));
    for _ in 0..60 {
        deep.1 = object(vec![("a", deep.1)]);
    }
    let thousand = |spelling: &str| {
        (format!(r#"{{"price":{spelling}}}"#), object(vec![("price", number(false, "3", 3))]))
    };
    let unicode = "ä日本🦀\u{7f}\u{2028}\u{FFFD}";
    vec![
        ("{}".to_owned(), object(vec![])),
        (r#"{"a":null}"#.to_owned(), object(vec![("a", Value::Null)])),
        (
            r#"{"b":[true,false,null,[],{},""],"a":{"":0}}"#.to_owned(),
            object(vec![
                ("a", object(vec![("", number(false, "", 0))])),
                (
                    "b",
                    Value::Array(vec![
                        Value::Bool(true),
                        Value::Bool(false),
                        Value::Null,
                        Value::Array(vec![]),
                        object(vec![]),
                        text(""),
                    ]),
                ),
            ]),
        ),
        thousand("3000"),
        thousand("3000.00"),
        thousand("3e3"),
        (r#"{"zero":-0,"half":0.5}"#.to_owned(), {
            object(vec![("half", number(false, "5", -1)), ("zero", number(false, "", 0))])
        }),
        (
            r#"{"max":9223372036854775807,"min":-9223372036854775808,"tiny":-0.001}"#.to_owned(),
            object(vec![
                ("max", number(false, "9223372036854775807", 0)),
                ("min", number(true, "9223372036854775808", 0)),
                ("tiny", number(true, "1", -3)),
            ]),
        ),
        (
            r#"{"escaped":"\u00e4\ud83e\udd80\n\"\\\/","Escaped":"'%_"}"#.to_owned(),
            object(vec![("escaped", text("ä🦀\n\"\\/")), ("Escaped", text("'%_"))]),
        ),
        (format!(r#"{{"{unicode}":"{unicode}"}}"#), object(vec![(unicode, text(unicode))])),
        (
            format!(r#"{{"long":"{}"}}"#, "x".repeat(50_000)),
            object(vec![("long", text(&"x".repeat(50_000)))]),
        ),
        (
            // Roles and ignored members are no content, but only at the top.
            r#"{"updated_at":5,"views":1,"_selfsame_x":2,"in":{"updated_at":5,"views":1}}"#.to_owned(),
            object(vec![("in", object(vec![("updated_at", integer(5)), ("views", integer(1))]))]),
        ),
        deep,
    ]
}

fn exact_numbers() -> Vec<(String, Value)> {
    let case = |spelling: &str, value: Value| (format!(r#"{{"n":{spelling}}}"#), object(vec![("n", value)]));
    vec![
        case("9007199254740993", number(false, "9007199254740993", 0)),
        case("9007199254740992", number(false, "9007199254740992", 0)),
        case("18446744073709551617", number(false, "18446744073709551617", 0)),
        case(
            "0.1000000000000000055511151231257827",
            number(false, "1000000000000000055511151231257827", -34),
        ),
        case("-123456789012345678901234567890.125", number(true, "123456789012345678901234567890125", -3)),
        case("1e400", number(false, "1", 400)),
        case("1.5E-400", number(false, "15", -401)),
    ]
}

/// Columns of every type have the content digest of their exact value.
pub(super) async fn columns(bench: &Bench<'_>) -> Result<(), Stop> {
    for (kind, cases) in column_cases() {
        if !bench.supports.column_kinds.contains(&kind) {
            bench.skip(format!("columns of type {kind:?}: the harness does not support them"));
            continue;
        }
        let fixture = bench.fixture_of(one_column(bench, kind)).await?;
        for (id, (cell, value)) in (0..).zip(cases) {
            let mut cells = bench.sample(id).key_row(&fixture.table).cells().to_vec();
            let what = format!("{cell:?}");
            cells.push(("value".to_owned(), cell));
            let content = object(vec![("value", value)]);
            expect_content(bench, &fixture, id, Row::new(cells), &content, &what).await?;
        }
    }
    Ok(())
}

fn one_column(bench: &Bench<'_>, kind: ColumnKind) -> Table {
    let mut table = bench.table();
    table.columns.truncate(1);
    table.columns.push(Column { name: "value".to_owned(), kind, nullable: true });
    let spec = MappingSpec {
        columns: None,
        version: None,
        expiry: None,
        deletion: None,
        ignore_fields: vec![],
        ..table.mapping.spec().clone()
    };
    table.mapping = mapping(spec);
    table
}

fn column_cases() -> Vec<(ColumnKind, Vec<(Cell, Value)>)> {
    let text = |text: &str| (Cell::Text(text.to_owned()), Value::Text(text.to_owned()));
    let bytes = |bytes: &[u8]| (Cell::Bytes(bytes.to_vec()), Value::Bytes(bytes.to_vec()));
    let exact = |spelling: &str, value| (Cell::Number(spelling.to_owned()), value);
    let json = |spelling: &str, value| (Cell::Json(spelling.to_owned()), value);
    let null = (Cell::Null, Value::Null);
    vec![
        (
            ColumnKind::Bool,
            vec![
                null.clone(),
                (Cell::Bool(true), Value::Bool(true)),
                (Cell::Bool(false), Value::Bool(false)),
            ],
        ),
        (
            ColumnKind::Integer,
            vec![
                null.clone(),
                (Cell::Integer(0), number(false, "", 0)),
                (Cell::Integer(i64::MAX), number(false, "9223372036854775807", 0)),
                (Cell::Integer(i64::MIN), number(true, "9223372036854775808", 0)),
            ],
        ),
        (
            ColumnKind::Real,
            vec![
                (Cell::Real(0.1), number(false, "1", -1)),
                (Cell::Real(-0.0), number(false, "", 0)),
                (Cell::Real(3000.0), number(false, "3", 3)),
                (Cell::Real(5e-324), number(false, "5", -324)),
                (Cell::Real(f64::MAX), number(false, "17976931348623157", 292)),
                (Cell::Real(f64::INFINITY), Value::NonFinite(NonFinite::Infinity)),
            ],
        ),
        (
            ColumnKind::Number,
            vec![
                null.clone(),
                exact("3000.00", number(false, "3", 3)),
                exact("12345678901234567890.123456789", number(false, "12345678901234567890123456789", -9)),
            ],
        ),
        (ColumnKind::Text, vec![null.clone(), text(""), text("null"), text("1"), text("ä'\"\\🦀\n")]),
        (ColumnKind::Bytes, vec![null, bytes(b""), bytes(&[0, 255, 0x27]), bytes(b"text")]),
        (
            ColumnKind::Json,
            vec![
                json(r#"{"a":[1.50]}"#, object(vec![("a", Value::Array(vec![number(false, "15", -1)]))])),
                json("\"text\"", Value::Text("text".to_owned())),
                json("9007199254740993", number(false, "9007199254740993", 0)),
            ],
        ),
    ]
}
