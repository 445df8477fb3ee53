//! stdout and stderr themselves: who reads them, and who does not any more.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write as _};

use anyhow::Context as _;

/// Whoever read stdout has left, as `selfsame runs | head` does. Nobody's mistake.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct Closed;

/// Prints a line on stdout. Fails with [`Closed`] if nobody reads it.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("cannot write to stdout"),
    }
}

/// Says a line on stderr. Where nobody listens there is nobody to tell.
pub(crate) fn talk(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether what is written there may have colours: on a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    wants_colours(stream.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

/// By <https://no-color.org>: set, and not empty.
fn wants_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert!(wants_colours(true, None) && wants_colours(true, Some(OsStr::new(""))));
        assert!(!wants_colours(true, Some(OsStr::new("1"))));
        assert!(!wants_colours(false, None) && !wants_colours(false, Some(OsStr::new(""))));
    }
}
