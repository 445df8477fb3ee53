//! Rules of keys.

use selfsame_core::{Key, KeyAs, KeyPart, UnreadableReason};

use super::KeyKind;
use super::bench::{Bench, DOCUMENT_BYTES_MAX, Fixture, Stop, WHOLE, ensure, key_of};
use super::rules_scan::exactly_once;
use super::sample::Sample;
use crate::{Expected, PageSize, Read, Scope, Write, WriteOutcome};

/// Keys of every type are told apart, scanned, read and repaired.
pub(super) async fn keys(bench: &Bench<'_>) -> Result<(), Stop> {
    for kind in [KeyKind::Integer, KeyKind::Text, KeyKind::Bytes, KeyKind::Mixed] {
        if !bench.supports.key_kinds.contains(&kind) {
            bench.skip(format!("keys of type {kind:?}: the harness does not support them"));
            continue;
        }
        let parts = parts_of(kind);
        round_trip(bench, &[kind], parts.into_iter().map(|part| vec![part]).collect()).await?;
    }
    if !bench.supports.composite_keys {
        bench.skip("composite keys: the harness does not support them".to_owned());
        return Ok(());
    }
    let text = |text: &str| KeyPart::Text(text.to_owned());
    let pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("a", "b"), ("b", "a"), ("a,", "b")];
    let composites = [
        (
            [KeyKind::Text, KeyKind::Text],
            pairs.iter().map(|(first, second)| vec![text(first), text(second)]).collect(),
        ),
        (
            [KeyKind::Text, KeyKind::Integer],
            [("eu", 1), ("eu", 2), ("eu", 10), ("us", 1), ("", 1), ("eu", -1)]
                .iter()
                .map(|(region, number)| vec![text(region), KeyPart::Number((*number).into())])
                .collect(),
        ),
    ];
    for (kinds, keys) in composites {
        if kinds.iter().all(|kind| bench.supports.key_kinds.contains(kind)) {
            round_trip(bench, &kinds, keys).await?;
        } else {
            bench.skip(format!("composite keys of {kinds:?}: the harness does not support all of them"));
        }
    }
    Ok(())
}

fn parts_of(kind: KeyKind) -> Vec<KeyPart> {
    let text = |text: &str| KeyPart::Text(text.to_owned());
    let long = "long-".repeat(50);
    match kind {
        KeyKind::Integer => {
            let edges = [0, 1, -1, 10, 9, i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1];
            let beyond_floats = [1 << 53, (1 << 53) + 1, -(1 << 53) - 1];
            edges.into_iter().chain(beyond_floats).map(|value| KeyPart::Number(value.into())).collect()
        }
        KeyKind::Text => [
            "",
            " ",
            "1",
            "01",
            "1.0",
            "a",
            "A",
            "a ",
            " a",
            "b",
            "key-1",
            "null",
            "'",
            "\"",
            "\\",
            "%",
            "_",
            "a%",
            ";--",
            "line\nbreak",
            "\t",
            "ä",
            "a\u{308}",
            "日本語",
            "🦀",
            "\u{FEFF}x",
            "ſ",
            "ß",
            "ss",
            "/",
            "?#&",
            &long,
        ]
        .map(text)
        .to_vec(),
        KeyKind::Bytes => [&b""[..], &[0], &[0, 0], &[0, 1], &[255], b"a", &[0xC3, 0x28]]
            .map(|b| KeyPart::Bytes(b.to_vec()))
            .to_vec(),
        KeyKind::Mixed => {
            let numbers = [0, 1, 2, 10].map(|value| KeyPart::Number(value.into()));
            numbers.into_iter().chain(["0", "1", "01", "2", "a", ""].map(text)).collect()
        }
    }
}

/// Writes a document under each key, and scans, reads, deletes and inserts it.
async fn round_trip(bench: &Bench<'_>, kinds: &[KeyKind], keys: Vec<Vec<KeyPart>>) -> Result<(), Stop> {
    let key_as = bench.table().mapping.spec().key_as;
    if key_as == KeyAs::String && kinds.contains(&KeyKind::Mixed) {
        bench.skip("keys of type Mixed: this store compares keys as text".to_owned());
        return Ok(());
    }
    let fixture = bench.fixture_of(bench.table_with(kinds, key_as, DOCUMENT_BYTES_MAX)).await?;
    let mut samples = Vec::new();
    for (id, key) in (0..).zip(keys) {
        let sample = Sample { key, ..bench.sample(id) };
        let key = fixture.key(&sample);
        if !bench.harness.takes_key(&key) {
            bench.skip(format!("key {key}: the harness says that the store cannot hold it"));
            continue;
        }
        fixture.put(&sample).await?;
        samples.push(sample);
    }
    // Two at a time: an order of the store's own, with ties, would lose some between pages.
    let seen = fixture.walk(Scope::All, PageSize { rows: 2, ..WHOLE }).await?;
    exactly_once(&fixture, &samples, &seen, &format!("a scan of keys {kinds:?}"))?;
    if key_as == KeyAs::Native {
        foreign_types_are_absent(&fixture, kinds, &samples).await?;
    }
    for sample in &samples {
        fixture.expect(sample, true, "a read of one key").await?;
        let document = fixture.document(sample).await?;
        let delete = fixture.repair(sample, Expected::Row(document.row_digest), Write::Delete);
        let outcome = fixture.apply_one(&delete).await?;
        let key = fixture.key(sample);
        ensure!(outcome == WriteOutcome::Applied { after: None }, "a delete of key {key} is {outcome:?}");
        fixture.expect(sample, false, "after a repair's delete").await?;
        let insert = fixture.repair(sample, Expected::Absent, Write::Put(document.row));
        let outcome = fixture.apply_one(&insert).await?;
        ensure!(
            matches!(outcome, WriteOutcome::Applied { after: Some(_) }),
            "an insert of key {key} is {outcome:?}"
        );
    }
    let seen = fixture.walk(Scope::All, WHOLE).await?;
    exactly_once(&fixture, &samples, &seen, &format!("a scan of keys {kinds:?} after repairs"))
}

/// 1 is not "1", nor are bytes text: a key of a type that no row has is absent, and no error.
async fn foreign_types_are_absent(
    fixture: &Fixture,
    kinds: &[KeyKind],
    samples: &[Sample],
) -> Result<(), Stop> {
    if kinds.contains(&KeyKind::Mixed) {
        return Ok(());
    }
    for sample in samples {
        let key = fixture.key(sample);
        let other = |part: &KeyPart| match part {
            KeyPart::Number(number) => KeyPart::Text(number.to_string()),
            KeyPart::Text(text) => text.parse::<i64>().map_or_else(
                |_| KeyPart::Bytes(text.as_bytes().to_vec()),
                |number| KeyPart::Number(number.into()),
            ),
            KeyPart::Bytes(bytes) => KeyPart::Text(String::from_utf8_lossy(bytes).into_owned()),
        };
        let foreign = Key::new(key.parts().iter().map(other).collect()).expect("as many parts as the key");
        let read = super::bench::read_one(&*fixture.store, &foreign).await?;
        ensure!(read == Read::Absent, "key {foreign} reads as {read:?}, where only {key} is");
    }
    Ok(())
}

/// Keys compared as text are found by their text, and two rows that meet are unreadable.
pub(super) async fn key_as_string(bench: &Bench<'_>) -> Result<(), Stop> {
    if !bench.supports.key_as.contains(&KeyAs::String) {
        return Err(Stop::Skipped("the harness does not support `key_as: string`".to_owned()));
    }
    let number = |value: i64| Sample { key: vec![KeyPart::Number(value.into())], ..bench.sample(value) };
    if bench.supports.key_kinds.contains(&KeyKind::Integer) {
        let table = bench.table_with(&[KeyKind::Integer], KeyAs::String, DOCUMENT_BYTES_MAX);
        let fixture = bench.fixture_of(table).await?;
        for value in [7, -7, i64::MIN] {
            fixture.put(&number(value)).await?;
            ensure!(fixture.key(&number(value)) == Key::text(value.to_string()), "the suite's own keys");
            fixture.expect(&number(value), true, "a read by text of an integer key").await?;
        }
        for text in ["07", "7.0", "x", ""] {
            let read = super::bench::read_one(&*fixture.store, &Key::text(text)).await?;
            ensure!(read == Read::Absent, "key {text:?} reads as {read:?}, where only numbers are");
        }
    } else {
        bench.skip("integers as text: the harness does not support integer keys".to_owned());
    }
    if !bench.supports.key_kinds.contains(&KeyKind::Mixed) {
        bench.skip("rows that meet: the harness does not support integers and text in one column".to_owned());
        return Ok(());
    }
    let table = bench.table_with(&[KeyKind::Mixed], KeyAs::String, DOCUMENT_BYTES_MAX);
    let fixture = bench.fixture_of(table).await?;
    let text = Sample { key: vec![KeyPart::Text("1".to_owned())], ..bench.sample(1) };
    fixture.put(&number(1)).await?;
    fixture.put(&number(2)).await?;
    fixture.put(&text).await?;
    let met = Key::text("1");
    let seen = fixture.walk(Scope::All, PageSize { rows: 1, ..WHOLE }).await?;
    let twins = seen.iter().filter(|row| key_of(row) == Some(&met));
    let named = twins.clone().filter(|row| {
        row.as_ref().is_err_and(|unreadable| unreadable.reason == UnreadableReason::DuplicateKey)
    });
    ensure!(
        seen.len() == 3 && twins.count() == 2 && named.count() == 2,
        "a scan of 1, \"1\" and 2 sees {seen:?}, not two unreadable rows and one other"
    );
    match fixture.read(&text).await? {
        Read::Unreadable(unreadable) if unreadable.reason == UnreadableReason::DuplicateKey => {}
        other => return Err(Stop::Failed(format!("the key that two rows have reads as {other:?}"))),
    }
    fixture.expect(&number(2), true, "a row beside two that meet").await
}
