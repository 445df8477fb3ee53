//! Why an agent does not start, for whoever starts it: what they can mend, and how.

use std::io::ErrorKind;

use selfsame_index::IndexError;
use selfsame_journal::JournalError;

use super::RuntimeError;
use crate::assembly::AssemblyError;
use crate::rpc::ServeError;

/// What to do about a data directory whose files cannot be made, read or written.
const OWN_THE_DIRECTORY: &str =
    "`data` must be a directory that the agent's user owns, on a disk that can be written";

/// What to do about a data directory that another agent uses.
const STOP_THE_OTHER: &str =
    "each agent needs a `data` directory of its own: stop the other one, or change `data`";

impl RuntimeError {
    /// The error in one line that says which address or path it is about and what to do, if it is a matter of
    /// settings, ports and directories. Nothing for what should not happen, and for a journal that is damaged.
    pub fn remedy(&self) -> Option<String> {
        let with_hint = |hint: &str| Some(format!("{self}; hint: {hint}"));
        match self {
            RuntimeError::NoAgent(..) | RuntimeError::Address(..) => Some(self.to_string()),
            RuntimeError::Serve(ServeError::Address(_)) => Some(self.to_string()),
            RuntimeError::Serve(ServeError::Bind { address, source }) => {
                Some(format!("cannot listen on {address}: {source}; hint: {}", about_port(source.kind())))
            }
            RuntimeError::Serve(ServeError::Stopped(_)) => None,
            RuntimeError::Assembly(AssemblyError::Data { path, error }) => {
                let path = path.display();
                Some(format!("data directory {path}: {error}; hint: {OWN_THE_DIRECTORY}"))
            }
            RuntimeError::Assembly(AssemblyError::Journal(error)) => match error {
                JournalError::InUse { path } => {
                    let path = path.display();
                    Some(format!("journal `{path}` is open in another process; hint: {STOP_THE_OTHER}"))
                }
                JournalError::Io { .. } => with_hint(OWN_THE_DIRECTORY),
                JournalError::Foreign { .. } | JournalError::NewerFormat { .. } => Some(self.to_string()),
                _ => None,
            },
            RuntimeError::Assembly(AssemblyError::Index { error, .. }) => match error {
                IndexError::Locked(path) => {
                    let path = path.display();
                    Some(format!("index `{path}` is open in another process; hint: {STOP_THE_OTHER}"))
                }
                IndexError::Io { .. } => with_hint(OWN_THE_DIRECTORY),
                IndexError::Damaged(_) | IndexError::Misuse(_) | IndexError::Closed => None,
            },
            RuntimeError::Assembly(AssemblyError::OtherAgent { .. }) => with_hint(
                "what a journal remembers is of its agent's nodes: give this agent its own `data` directory",
            ),
            RuntimeError::Assembly(AssemblyError::Settings(..)) => None,
        }
    }
}

fn about_port(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => {
            "stop the process that listens there (the agent may run already), or change the port in the fleet file"
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address: is it another agent's?",
        ErrorKind::PermissionDenied => "take a port from 1024 on, or allow the agent's user this one",
        _ => "look at the address in the fleet file",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    fn refused() -> io::Error {
        io::Error::from(ErrorKind::PermissionDenied)
    }

    #[test]
    fn what_can_be_mended_names_its_place_and_has_one_hint() {
        let path = || PathBuf::from("/data/a");
        let index = |error| AssemblyError::Index {
            collection: "products".parse().unwrap(),
            node: "node-a".parse().unwrap(),
            error,
        };
        let bind = |kind: ErrorKind| ServeError::Bind { address: "host:1".to_owned(), source: kind.into() };
        for (error, place) in [
            (RuntimeError::Serve(bind(ErrorKind::AddrInUse)), "host:1"),
            (RuntimeError::Serve(bind(ErrorKind::AddrNotAvailable)), "host:1"),
            (RuntimeError::Serve(bind(ErrorKind::PermissionDenied)), "host:1"),
            (AssemblyError::Data { path: path(), error: refused() }.into(), "/data/a"),
            (AssemblyError::from(JournalError::InUse { path: path() }).into(), "/data/a"),
            (AssemblyError::from(JournalError::Io { path: path(), source: refused() }).into(), "/data/a"),
            (index(IndexError::Locked(path())).into(), "/data/a"),
            (index(IndexError::Io { what: "use `/data/a`".to_owned(), source: refused() }).into(), "/data/a"),
        ] {
            let remedy = error.remedy().unwrap_or_else(|| panic!("{error:?}"));
            assert!(remedy.contains(place) && !remedy.contains('\n'), "{remedy}");
            assert_eq!(remedy.matches("hint: ").count(), 1, "{remedy}");
        }
    }

    #[test]
    fn a_damaged_journal_is_nobodys_usage() {
        let damaged =
            JournalError::Damaged { path: "/data/a".into(), detail: "it is a directory".to_owned() };
        assert_eq!(RuntimeError::from(AssemblyError::from(damaged)).remedy(), None);
    }
}
