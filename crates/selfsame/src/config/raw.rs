//! The file as a tree of names, texts, lists and places, before anything is known of what they mean. YAML's own
//! guesses about types are ignored: `off`, `1e3` and `0x10` stay as they were written, and the setting decides.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, NonFiniteFloatPolicy, Spanned};

use super::problems::{Place, Problem, Problems, quoted};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where the value stands. Of an alias, where the anchor stands: that is what one edits.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Value,
}

/// What stands somewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing after the colon: most often an oversight.
    Empty,
    /// An explicit `null` or `~`.
    Null,
    /// A scalar, as written, without its quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Member>),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    /// The name.
    pub(super) name: String,
    /// Where the name stands.
    pub(super) place: Place,
    /// The value.
    pub(super) node: Node,
}

impl Node {
    /// The value of a member, if this is a mapping that has it.
    pub(super) fn member(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(members) => {
                members.iter().find(|member| member.name == name).map(|member| &member.node)
            }
            _ => None,
        }
    }

    /// This laid over `under`: mappings member by member, anything else as a whole. Its explicit nulls stay,
    /// and so take away what `under` has. Recursion ends at the depth that the parser's budget allows.
    pub(super) fn over(&self, under: &Node) -> Node {
        let (Value::Map(upper), Value::Map(lower)) = (&self.value, &under.value) else {
            return self.clone();
        };
        let mut members = upper.clone();
        for inherited in lower {
            match members.iter_mut().find(|member| member.name == inherited.name) {
                Some(own) => own.node = own.node.over(&inherited.node),
                None => members.push(inherited.clone()),
            }
        }
        Node { place: self.place, value: Value::Map(members) }
    }
}

/// Reads YAML. Adds the problems of its syntax, and answers the tree if there is one.
///
/// After a name that stands twice the rest is read nevertheless, so that its problems are reported too.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    // The parser skips a byte order mark, but counts it in its offsets.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let error = match parse(text, DuplicateKeyPolicy::Error) {
        Ok(node) => return Some(node),
        Err(error) => error,
    };
    let error = error.without_snippet();
    problems.add(syntax_problem(error));
    match error {
        Error::DuplicateMappingKey { .. } => parse(text, DuplicateKeyPolicy::FirstWins).ok(),
        _ => None,
    }
}

fn parse(text: &str, duplicates: DuplicateKeyPolicy) -> Result<Node, Error> {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = duplicates;
    // `.nan` is text like any other here, and the setting refuses it.
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    let sketch: Spanned<Sketch> = serde_saphyr::from_str_with_options(text, options)?;
    Ok(sketch_node(sketch, text))
}

fn syntax_problem(error: &Error) -> Problem {
    let place = error.location().map_or(Place::START, place_of);
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_deref().map_or_else(|| "a name".to_owned(), quoted);
            Problem::new(place, format!("{name} stands twice")).hint("keep one of the two")
        }
        Error::MultipleDocuments { .. } => {
            Problem::new(place, "a second YAML document begins").hint("one file has one fleet")
        }
        _ => {
            let text = error.to_string();
            // The place is already said in front of the message.
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
            Problem::new(place, format!("not valid YAML: {message}"))
        }
    }
}

fn place_of(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// What serde can tell before the source text is at hand.
enum Sketch {
    /// A scalar whose type YAML guessed; the source has its spelling.
    Guessed,
    Null,
    Text(String),
    List(Vec<Spanned<Sketch>>),
    Map(Vec<(Spanned<String>, Spanned<Sketch>)>),
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sketch, D::Error> {
        deserializer.deserialize_any(SketchVisitor)
    }
}

struct SketchVisitor;

impl<'de> Visitor<'de> for SketchVisitor {
    type Value = Sketch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sketch, E> {
        Ok(Sketch::Guessed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sketch, E> {
        Ok(Sketch::Guessed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sketch, E> {
        Ok(Sketch::Guessed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sketch, E> {
        Ok(Sketch::Guessed)
    }

    fn visit_unit<E>(self) -> Result<Sketch, E> {
        Ok(Sketch::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Sketch, E> {
        Ok(Sketch::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Sketch, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Sketch::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Sketch, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Sketch::Map(members))
    }
}

fn sketch_node(sketch: Spanned<Sketch>, text: &str) -> Node {
    let source = source_of(sketch.defined, text);
    let value = match sketch.value {
        Sketch::Guessed => Value::Text(source.trim_matches(['"', '\'']).to_owned()),
        Sketch::Null if source.is_empty() => Value::Empty,
        Sketch::Null => Value::Null,
        Sketch::Text(text) => Value::Text(text),
        Sketch::List(items) => Value::List(items.into_iter().map(|item| sketch_node(item, text)).collect()),
        Sketch::Map(members) => {
            let member = |(name, node): (Spanned<String>, Spanned<Sketch>)| Member {
                place: place_of(name.defined),
                name: name.value,
                node: sketch_node(node, text),
            };
            Value::Map(members.into_iter().map(member).collect())
        }
    };
    Node { place: place_of(sketch.defined), value }
}

/// How a scalar is spelled. Empty if the parser does not know where it stands.
fn source_of(location: Location, text: &str) -> &str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        Some(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.and_then(|range| text.get(range)).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let mut problems = Problems::none("f");
        let node = read(text, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        node.unwrap()
    }

    fn problems_of(text: &str) -> String {
        let mut problems = Problems::none("f");
        read(text, &mut problems);
        problems.to_string()
    }

    fn text(node: &Node, name: &str) -> Value {
        node.member(name).unwrap().value.clone()
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let node = tree(
            "\u{feff}é: off\nb: 0x10 # c\nc: &x 1e3\nd: *x\ne: 02\nf: .nan\ng: \"null\"\nh: 1e999\ni: !!int \"5\"\n",
        );
        for (name, spelled) in [
            ("é", "off"),
            ("b", "0x10"),
            ("c", "1e3"),
            ("d", "1e3"),
            ("e", "02"),
            ("f", ".nan"),
            ("g", "null"),
            ("h", "1e999"),
            ("i", "5"),
        ] {
            assert_eq!(text(&node, name), Value::Text(spelled.into()), "{name}");
        }
    }

    #[test]
    fn an_oversight_is_told_from_an_explicit_null() {
        let node = tree("a:\nb: ~\nc: null\n");
        assert_eq!(
            [text(&node, "a"), text(&node, "b"), text(&node, "c")],
            [Value::Empty, Value::Null, Value::Null]
        );
    }

    #[test]
    fn aliases_and_merges_point_to_what_one_edits() {
        let node = tree("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\nc: *a\n");
        let place = |line, column| Place { line, column };
        assert_eq!(node.member("b").unwrap().member("x").unwrap().place, place(1, 11));
        assert_eq!(node.member("c").unwrap().place, place(1, 7));
    }

    #[test]
    fn mappings_merge_by_member_and_null_takes_away() {
        let over = tree("a: {x: 1}\nb: ~\nl: [1]\n").over(&tree("a: {x: 0, y: 2}\nb: 3\nc: 4\nl: [2, 3]\n"));
        let a = over.member("a").unwrap();
        assert_eq!((text(a, "x"), text(a, "y")), (Value::Text("1".into()), Value::Text("2".into())));
        assert_eq!((text(&over, "b"), text(&over, "c")), (Value::Null, Value::Text("4".into())));
        assert!(matches!(text(&over, "l"), Value::List(items) if items.len() == 1));
    }

    #[test]
    fn syntax_is_refused_with_its_place() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "f:2:1: `a` stands twice\n  hint: keep one of the two"),
            ("a: [1\n", "f:1:4: not valid YAML: unclosed bracket '['"),
            ("--- a\n--- b\n", "f:2:5: a second YAML document begins\n  hint: one file has one fleet"),
            ("a: *nope\n", "f:1:4: not valid YAML: alias references unknown anchor"),
        ] {
            assert_eq!(problems_of(text), expected);
        }
        assert!(problems_of(&"[".repeat(100_000)).starts_with("f:1:"));
    }
}
