//! Writing documents of a replica to a file, for people: one line of JSON each, before they go.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_core::{Cell, Key, Row};
use selfsame_store::Read;
use serde_json::{Map, Value, json};

use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;
use crate::private;

/// Keys in one read.
const KEYS_PER_READ: usize = 500;

impl LocalReplica {
    /// Writes the stored rows of these keys into a new file in `directory`, synced when this returns; gives its path.
    /// Each line has the key as people type it, and the row's fields; bytes are hexadecimal. A key without a row has
    /// no line.
    pub(crate) async fn export(
        self: &Arc<Self>,
        directory: &Path,
        keys: &[Key],
    ) -> Result<PathBuf, PeerError> {
        let mut lines = Vec::new();
        for chunk in keys.chunks(KEYS_PER_READ) {
            let reads = self.parts.store.read(chunk).await.map_err(|error| self.silent(&error))?;
            let rows = chunk.iter().zip(&reads).filter_map(|(key, read)| match read {
                Read::Live(document) | Read::Marked(document) => Some((key, &document.row)),
                Read::Absent | Read::Unreadable(_) => None,
            });
            lines.extend(rows.map(|(key, row)| line(key, row)));
        }
        let name =
            format!("{}-{}-{}.ndjson", self.parts.collection.name, self.parts.node, self.parts.clock.now().0);
        let (directory, path) = (directory.to_owned(), directory.join(name));
        let written = path.clone();
        let done = blocking(move || write(&directory, &written, &lines)).await;
        done.map_err(|error| {
            tracing::error!(path = %path.display(), %error, "documents were not exported");
            PeerError::Refused(format!("the export failed: {}", error.kind()))
        })?;
        Ok(path)
    }
}

fn write(directory: &Path, path: &Path, lines: &[Value]) -> io::Result<()> {
    private::directory(directory)?;
    let mut file = BufWriter::new(private::new_file(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    File::open(directory)?.sync_all()
}

fn line(key: &Key, row: &Row) -> Value {
    let fields: Map<String, Value> =
        row.cells().iter().map(|(name, cell)| (name.clone(), value(cell))).collect();
    json!({ "key": key.to_string(), "row": fields })
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(truth) => json!(truth),
        Cell::Integer(integer) => json!(integer),
        Cell::Real(real) if real.is_finite() => json!(real),
        Cell::Real(real) => json!(real.to_string()),
        Cell::Number(text) | Cell::Text(text) => json!(text),
        Cell::Bytes(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        // As the store spells it: a parsed number might not be the same again.
        Cell::Json(text) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_has_the_key_and_every_field() {
        let row = Row::new(vec![
            ("id".into(), Cell::Integer(7)),
            ("blob".into(), Cell::Bytes(vec![0, 255])),
            ("body".into(), Cell::Json("{\"a\": 1.0}".into())),
            ("none".into(), Cell::Null),
            ("real".into(), Cell::Real(f64::INFINITY)),
        ]);
        let expected = json!({
            "key": "7",
            "row": { "id": 7, "blob": "00ff", "body": "{\"a\": 1.0}", "none": null, "real": "inf" },
        });
        assert_eq!(line(&Key::integer(7), &row), expected);
    }

    #[test]
    #[cfg(unix)]
    fn only_its_owner_looks_into_an_export() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let (inner, path) = (directory.path().join("exports"), directory.path().join("exports/a.ndjson"));
        write(&inner, &path, &[]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&inner), mode(&path)), (0o700, 0o600));
    }

    #[test]
    fn an_export_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, path) = (directory.path().join("exports"), directory.path().join("exports/a.ndjson"));
        write(&inner, &path, &[json!({ "key": "1" })]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"key\":\"1\"}\n");
        assert!(write(&inner, &path, &[]).is_err());
    }
}
