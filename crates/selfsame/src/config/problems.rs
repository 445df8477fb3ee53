//! What is wrong with a configuration, and where. Problems are gathered, never thrown at the first: whoever
//! mends a file wants to see all of them at once.

use std::fmt;
use std::io;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Values longer than this are cut where a message quotes them: a message is a line, not a page.
const QUOTED_CHARS_MAX: usize = 60;

/// A line and a column of the file, both from 1. The default is no place at all: a built-in value has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The line, from 1.
    pub(crate) line: u64,
    /// The column in characters, from 1.
    pub(crate) column: u64,
}

impl Place {
    /// Where the file begins.
    pub(crate) const START: Place = Place { line: 1, column: 1 };

    /// Whether this is a place in a file.
    pub(crate) fn is_known(self) -> bool {
        self.line > 0
    }
}

/// A value and the place where the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    /// Where it stands.
    pub(crate) place: Place,
    /// What stands there.
    pub(crate) value: T,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where; [`Place::default`] if it concerns the file as a whole.
    pub(crate) place: Place,
    /// What, in lower case, naming the setting and the value.
    pub(crate) message: String,
    /// What to do about it, if that can be said.
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Problem {
        Problem { place, message: message.into(), hint: None }
    }

    /// The same with a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// Writes it as `FILE:LINE:COLUMN: MESSAGE`, with the hint on a line of its own. `kind` comes before the
    /// message.
    pub(crate) fn write(&self, out: &mut dyn fmt::Write, file: &str, kind: &str) -> fmt::Result {
        match self.place.is_known() {
            true => write!(out, "{file}:{}:{}: {kind}{}", self.place.line, self.place.column, self.message)?,
            false => write!(out, "{file}: {kind}{}", self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(out, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// As `{line, column, message, hint}`; what is not known is null.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = Some(self.place).filter(|place| place.is_known());
        let mut object = serializer.serialize_struct("Problem", 4)?;
        object.serialize_field("line", &place.map(|place| place.line))?;
        object.serialize_field("column", &place.map(|place| place.column))?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("hint", &self.hint)?;
        object.end()
    }
}

/// All that is wrong with a file, in the order of its lines. As an error it has at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problems {
    /// The file, as the user named it.
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Nothing wrong so far.
    pub(crate) fn none(file: impl Into<String>) -> Problems {
        Problems { file: file.into(), list: Vec::new() }
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(file: impl Into<String>, error: &io::Error) -> Problems {
        let problem = Problem::new(Place::default(), format!("cannot be read: {error}"));
        Problems { file: file.into(), list: vec![problem] }
    }

    /// One more.
    pub(crate) fn add(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems.
    pub(crate) fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Sorted by place. What an alias repeats, or several collections inherit, is said once.
    pub(crate) fn sorted(mut self) -> Problems {
        self.list.sort_by_key(|problem| problem.place);
        let mut kept: Vec<Problem> = Vec::with_capacity(self.list.len());
        for problem in self.list {
            let same_place = kept.iter().rev().take_while(|other| other.place == problem.place);
            if !same_place.into_iter().any(|other| other.message == problem.message) {
                kept.push(problem);
            }
        }
        Problems { file: self.file, list: kept }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.write(f, &self.file, "")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value as a message quotes it: on one line, and cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    // Quotes need no escape between backticks.
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_stand_in_the_order_of_their_lines_and_once() {
        let mut problems = Problems::none("f.yaml");
        let at = |line, column| Place { line, column };
        problems.add(Problem::new(at(9, 1), "last"));
        problems.add(Problem::new(at(2, 7), "first").hint("mend it"));
        problems.add(Problem::new(at(9, 1), "other"));
        problems.add(Problem::new(at(9, 1), "last"));
        assert_eq!(
            problems.sorted().to_string(),
            "f.yaml:2:7: first\n  hint: mend it\nf.yaml:9:1: last\nf.yaml:9:1: other"
        );
    }

    #[test]
    fn json_has_null_for_what_is_not_known() {
        let problem = Problem::new(Place::default(), "cannot be read");
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"line":null,"column":null,"message":"cannot be read","hint":null}"#
        );
    }

    #[test]
    fn quoted_values_stay_on_one_line() {
        assert_eq!(quoted("a\n\"b\""), "`a\\n\"b\"`");
        assert_eq!(quoted(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }
}
