//! The documents that the demo starts with: the bundled Unicode Character Database, or lines of a file.
//!
//! Everything is read and checked before anything is started. A document that the agents could not read is
//! refused here, with its line.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::GzDecoder;
use selfsame_core::{Value, parse_json};

/// The Unicode Character Database, one object a line.
const BUNDLED: &[u8] = include_bytes!("../../../../testdata/unicode/characters.ndjson.gz");

/// The largest document; the agents' default for `document_bytes_max`.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// With fewer documents, the demo's injections would be more than a brake's share of the collection. Shorter files
/// are filled up with copies.
const DOCUMENTS_MIN: usize = 1000;

/// Documents, checked.
#[derive(Debug)]
pub(super) struct Documents {
    /// Where they come from, for people.
    pub(super) source: String,
    /// In the order of the file; keys are distinct.
    pub(super) all: Vec<Document>,
    /// How many at the end of `all` are copies, because there were few.
    pub(super) copies: usize,
    /// The name of a member that no document has: the writer's edits go there.
    note: String,
}

/// One document.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Its key.
    pub(super) id: Arc<str>,
    /// The text between the braces of its JSON object, as it was read.
    inner: Arc<str>,
}

impl Documents {
    /// The bundled ones.
    pub(super) fn bundled() -> Result<Documents> {
        read("the Unicode Character Database", "characters.ndjson", BufReader::new(GzDecoder::new(BUNDLED)))
    }

    /// Those of a file: one JSON object a line, each with an `id`.
    pub(super) fn of_file(path: &Path) -> Result<Documents> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            anyhow!("{name}: {error}; hint: give a file of one JSON object a line, each with an `id`")
        })?;
        read(&name, &name, BufReader::new(file))
    }

    /// The stored text of a document as it was read.
    pub(super) fn body(&self, index: usize) -> Arc<str> {
        format!("{{{}}}", self.all[index].inner).into()
    }

    /// The stored text of a document after an edit.
    pub(super) fn edited(&self, index: usize, edit: u64) -> Arc<str> {
        format!("{{\"{}\":\"edit {edit}\",{}}}", self.note, self.all[index].inner).into()
    }
}

/// Reads lines. `name` stands before the line in messages.
pub(super) fn read(source: &str, name: &str, lines: impl BufRead) -> Result<Documents> {
    let mut all = Vec::new();
    let mut line_of: HashMap<Arc<str>, usize> = HashMap::new();
    let mut member_names = HashSet::new();
    for (index, line) in lines.split(b'\n').enumerate() {
        let number = index + 1;
        let line = line.with_context(|| format!("{name}:{number}: cannot be read"))?;
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let document =
            document(text, &mut member_names).map_err(|problem| anyhow!("{name}:{number}: {problem}"))?;
        if let Some(first) = line_of.insert(document.id.clone(), number) {
            bail!(
                "{name}:{number}: the key `{}` was on line {first} already; hint: keys must be distinct, and 7 and \
                 \"7\" are one key here",
                document.id
            );
        }
        all.push(document);
    }
    if all.is_empty() {
        bail!("{name}: no documents; hint: one JSON object a line, each with an `id`");
    }
    let copies = fill_up(&mut all, &mut line_of);
    // The writer's member must be new to every document: a second one of the name would be unreadable.
    let mut note = "note".to_owned();
    while member_names.contains(&note) {
        note.push('_');
    }
    Ok(Documents { source: source.to_owned(), all, copies, note })
}

fn document(text: &[u8], member_names: &mut HashSet<String>) -> Result<Document, String> {
    const OBJECT: &str = "hint: each line is one JSON object such as {\"id\":\"a\",\"name\":\"first\"}";
    const KEY: &str = "hint: each document needs an `id` that is text or a whole number";
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("{} bytes; hint: a document has at most {DOCUMENT_BYTES_MAX}", text.len()));
    }
    let value = parse_json(text).map_err(|error| format!("{error}; {OBJECT}"))?;
    let Value::Object(members) = &value else { return Err(format!("not a JSON object; {OBJECT}")) };
    let id = match value.member("id") {
        None => return Err(format!("no `id`; {KEY}")),
        Some(Value::Text(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) if id.to_i64().is_some() => id.to_string(),
        Some(_) => return Err(format!("its `id` is neither text nor a whole number; {KEY}")),
    };
    for (name, _) in members {
        if !member_names.contains(name) {
            member_names.insert(name.clone());
        }
    }
    let text = std::str::from_utf8(text).map_err(|_| format!("not UTF-8; {OBJECT}"))?;
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let inner = inner.ok_or_else(|| format!("not a JSON object; {OBJECT}"))?;
    Ok(Document { id: id.into(), inner: inner.trim().into() })
}

/// Adds copies under keys of their own until there are enough; answers how many.
fn fill_up(all: &mut Vec<Document>, taken: &mut HashMap<Arc<str>, usize>) -> usize {
    let given = all.len();
    let mut number = 0;
    while all.len() < DOCUMENTS_MIN {
        let original = &all[number % given];
        let id: Arc<str> = format!("{}~{}", original.id, number / given + 1).into();
        number += 1;
        if taken.insert(id.clone(), 0).is_none() {
            let inner = original.inner.clone();
            all.push(Document { id, inner });
        }
    }
    all.len() - given
}

/// Changes one letter within one text value of a JSON object. `choose` picks among so many places; a body without
/// any letter in its values is given back unchanged.
pub(super) fn flipped(body: &str, choose: impl FnOnce(usize) -> usize) -> String {
    let places = letters_in_values(body.as_bytes());
    if places.is_empty() {
        return body.to_owned();
    }
    let place = places[choose(places.len())];
    let mut bytes = body.as_bytes().to_vec();
    bytes[place] = match bytes[place] {
        b'z' => b'y',
        b'Z' => b'Y',
        letter => letter + 1,
    };
    String::from_utf8(bytes).expect("an ASCII letter took the place of another")
}

/// The places of ASCII letters in texts that are values. Texts with escapes are left alone: a letter there may
/// mean something else.
fn letters_in_values(json: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < json.len() {
        if json[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at + 1;
        let mut end = start;
        while end < json.len() && json[end] != b'"' {
            end += if json[end] == b'\\' { 2 } else { 1 };
        }
        at = (end + 1).min(json.len());
        let text = &json[start..end.min(json.len())];
        let is_name = json[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        if !is_name && !text.contains(&b'\\') {
            places.extend((start..end).filter(|place| json[*place].is_ascii_alphabetic()));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Documents> {
        read("test", "f.ndjson", text.as_bytes())
    }

    fn refusal(text: &str) -> String {
        format!("{:#}", of(text).unwrap_err())
    }

    #[test]
    fn bad_lines_are_refused_with_file_line_and_hint() {
        for (text, expected) in [
            ("", "f.ndjson: no documents; hint: "),
            ("{\"id\":\"a\"}\n\n{\"name\":1}\n", "f.ndjson:3: no `id`; hint: "),
            ("{\"id\":1}\n{\"id\":2,}\n", "f.ndjson:2: malformed json at byte 8; hint: "),
            ("{\"id\":1,\"x\":{\"y\":1,\"y\":2}}\n", "f.ndjson:1: duplicate member `y`; hint: "),
            ("{\"id\":7}\n{\"id\":\"7\"}\n", "f.ndjson:2: the key `7` was on line 1 already; hint: "),
            ("{\"id\":1.5}\n", "f.ndjson:1: its `id` is neither text nor a whole number; hint: "),
            ("{\"id\":null}\n", "f.ndjson:1: its `id` is neither"),
            ("{\"id\":\"\"}\n", "f.ndjson:1: its `id` is neither"),
            ("[1]\n", "f.ndjson:1: not a JSON object; hint: "),
            ("{\"id\":\"\u{1}\"}\n", "f.ndjson:1: malformed json"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        assert!(format!("{:#}", read("", "f", &b"{\"id\":\"\xff\"}"[..]).unwrap_err()).contains("unicode"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refusal = format!("{:#}", Documents::of_file(Path::new("nowhere.ndjson")).unwrap_err());
        assert!(refusal.starts_with("nowhere.ndjson: ") && refusal.contains("; hint: "), "{refusal}");
    }

    #[test]
    fn bodies_keep_what_was_read_and_edits_are_new_members() {
        let documents = of("{\"id\": 7, \"note\": 1e3}\r\n").unwrap();
        assert_eq!(&*documents.body(0), "{\"id\": 7, \"note\": 1e3}");
        assert_eq!(&*documents.edited(0, 2), "{\"note_\":\"edit 2\",\"id\": 7, \"note\": 1e3}");
        assert_eq!((documents.all.len(), documents.copies), (DOCUMENTS_MIN, DOCUMENTS_MIN - 1));
    }

    #[test]
    fn a_flip_changes_one_letter_of_one_value() {
        let body = "{\"name\": \"a\\n\", \"x\": [\"zq\"], \"n\": 1}";
        assert_eq!(flipped(body, |_| 0), body.replace("zq", "yq"));
        assert_eq!(flipped(body, |places| places - 1), body.replace("zq", "zr"));
        assert_eq!(flipped("{\"id\":1}", |_| 0), "{\"id\":1}");
    }

    #[test]
    fn the_bundled_documents_are_readable() {
        let documents = Documents::bundled().unwrap();
        assert!(documents.all.iter().any(|document| &*document.id == "U+0041"));
        assert_eq!(documents.copies, 0);
    }
}
