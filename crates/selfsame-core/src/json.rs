//! A strict JSON reader (RFC 8259) that loses nothing: numbers keep their exact decimal value and duplicate
//! members are an error instead of a silent choice. No crate does both: the common parsers go through `f64` or
//! keep the last of duplicate members.
//!
//! Cost: one pass over the bytes, plus a sort of each object's names to find duplicates.

use std::fmt::Write as _;

use crate::{Decimal, DecimalError, Value};

/// Deeper nesting is refused, so that no document can exhaust the stack. The figure is the one of `serde_json`.
const DEPTH_MAX: usize = 128;

/// Why bytes are not a JSON document that has one meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON; the offset in bytes tells where.
    #[error("malformed json at byte {0}")]
    Malformed(usize),
    /// Not UTF-8, or an escape for half a surrogate pair.
    #[error("text that is not unicode at byte {0}")]
    NotUnicode(usize),
    /// A member's name occurs twice in one object.
    #[error("duplicate member `{0}`")]
    DuplicateMember(String),
    /// A number whose exponent does not fit 64 bits.
    #[error("number out of range at byte {0}")]
    NumberRange(usize),
    /// Nested deeper than 128 levels.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Reads one JSON value that takes up all of `bytes`, white space aside.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUnicode(error.valid_up_to()))?;
    let mut reader = Reader { text, bytes, at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < bytes.len() {
        return Err(JsonError::Malformed(reader.at));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn malformed<T>(&self) -> Result<T, JsonError> {
        Err(JsonError::Malformed(self.at))
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.malformed();
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.malformed();
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        match self.peek() {
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.malformed(),
        }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        Decimal::parse(&self.text[start..self.at]).map(Value::Number).map_err(|error| match error {
            DecimalError::Syntax => JsonError::Malformed(start),
            DecimalError::Exponent => JsonError::NumberRange(start),
        })
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.malformed(),
            }
        }
        self.at += 1;
        Ok(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut members: Vec<(String, Value)> = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.malformed();
            }
            let name = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.malformed(),
            }
        }
        self.at += 1;
        refuse_duplicates(&members)?;
        Ok(Value::Object(members))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return self.malformed(),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let Some(byte) = self.peek() else { return self.malformed() };
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                if !(0xD800..=0xDFFF).contains(&first) {
                    return char::from_u32(first).ok_or(JsonError::NotUnicode(start));
                }
                if first > 0xDBFF || !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err(JsonError::NotUnicode(start));
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(JsonError::NotUnicode(start));
                }
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                char::from_u32(code).ok_or(JsonError::NotUnicode(start))?
            }
            _ => return Err(JsonError::Malformed(start)),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(JsonError::Malformed(self.at))?;
        let mut code = 0;
        for &digit in digits {
            let nibble = (digit as char).to_digit(16).ok_or(JsonError::Malformed(self.at))?;
            code = code * 16 + nibble;
        }
        self.at += 4;
        Ok(code)
    }
}

fn refuse_duplicates(members: &[(String, Value)]) -> Result<(), JsonError> {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(JsonError::DuplicateMember(pair[0].to_owned())),
        None => Ok(()),
    }
}

/// Writes a value as JSON text. Bytes and non-finite floats, which JSON lacks, become one-member objects
/// (`{"$bytes":"hex"}`, `{"$float":"NaN"}`): for people and tools to read, not a form that is read back.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    render_into(value, &mut out);
    out
}

fn render_into(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write!(out, "{number}").expect("writing to a string cannot fail"),
        Value::NonFinite(kind) => {
            write!(out, "{{\"$float\":\"{kind:?}\"}}").expect("writing to a string cannot fail");
        }
        Value::Text(text) => render_text(text, out),
        Value::Bytes(bytes) => {
            out.push_str("{\"$bytes\":\"");
            out.push_str(&hex::encode(bytes));
            out.push_str("\"}");
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                render_into(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                render_text(name, out);
                out.push(':');
                render_into(member, out);
            }
            out.push('}');
        }
    }
}

fn render_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a string cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Value, JsonError> {
        parse(text.as_bytes())
    }

    #[test]
    fn malformed_documents_are_refused_where_they_break() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("[1 2]", 3),
            ("nul", 0),
            ("\"a\nb\"", 2),
            ("\"\\x\"", 1),
            ("1 1", 2),
            ("01", 0),
        ] {
            assert_eq!(read(text), Err(JsonError::Malformed(at)), "{text:?}");
        }
    }

    #[test]
    fn duplicate_members_are_an_error_at_any_depth_and_through_escapes() {
        assert_eq!(read(r#"{"a":1,"b":2,"a":1}"#), Err(JsonError::DuplicateMember("a".into())));
        assert_eq!(read(r#"[{"x":{"a":1,"\u0061":2}}]"#), Err(JsonError::DuplicateMember("a".into())));
    }

    #[test]
    fn half_a_surrogate_pair_is_not_unicode() {
        assert_eq!(read(r#""\ud83d\ude00""#), Ok(Value::Text("😀".into())));
        for text in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\u0041""#] {
            assert_eq!(read(text), Err(JsonError::NotUnicode(1)), "{text}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(JsonError::NotUnicode(1)));
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(read(&deep(100_000)), Err(JsonError::TooDeep));
    }

    fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(".{0,4}", inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_parser(document in arbitrary_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
            let ours = read(&text.unwrap()).unwrap();
            let back: serde_json::Value = serde_json::from_str(&render(&ours)).unwrap();
            prop_assert_eq!(back, document);
        }

        #[test]
        fn accepts_just_what_an_independent_parser_accepts(text in "[\\[\\]{}\",:0-9eE.+\\-a\\\\u ntrfls]{0,12}") {
            let ours = read(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let lenient_there = matches!(ours, Err(JsonError::DuplicateMember(_) | JsonError::NumberRange(_)));
            let range_there = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(ours.is_ok() == theirs.is_ok() || lenient_there || range_there, "{ours:?} {theirs:?}");
        }
    }
}
