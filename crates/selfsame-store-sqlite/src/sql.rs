//! Names and texts within SQL statements.

/// An identifier, whatever characters it has.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The given pieces with commas between.
pub(crate) fn list(pieces: impl IntoIterator<Item = String>) -> String {
    pieces.into_iter().collect::<Vec<_>>().join(", ")
}

/// `count` parameters with commas between.
pub(crate) fn parameters(count: usize) -> String {
    list((0..count).map(|_| "?".to_owned()))
}
