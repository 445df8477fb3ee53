//! The canonical form of content: equal values give equal bytes, different values different bytes.
//!
//! Members are sorted by the bytes of their names, lengths are framed, numbers stand by exact decimal value.
//! The form is the input of the content digest, so it is frozen: `testdata/golden.json` holds vectors that a
//! second implementation, in another language, computed.

use crate::{NonFinite, Value, Writer};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const NON_FINITE: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Appends the canonical form of `value`. Cost: its size, plus a sort of the members of each object.
pub fn encode(value: &Value, out: &mut Writer) {
    match value {
        Value::Null => {
            out.byte(NULL);
        }
        Value::Bool(flag) => {
            out.byte(if *flag { TRUE } else { FALSE });
        }
        Value::Number(number) => {
            out.byte(NUMBER).byte(u8::from(number.is_negative())).frame(number.digits().as_bytes());
            out.i64(number.exponent());
        }
        Value::NonFinite(kind) => {
            out.byte(NON_FINITE).byte(match kind {
                NonFinite::NaN => 0,
                NonFinite::Infinity => 1,
                NonFinite::NegativeInfinity => 2,
            });
        }
        Value::Text(text) => {
            out.byte(TEXT).frame(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.byte(BYTES).frame(bytes);
        }
        Value::Array(items) => {
            out.byte(ARRAY).u64(items.len() as u64);
            for item in items {
                encode(item, out);
            }
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
            out.byte(OBJECT).u64(sorted.len() as u64);
            for (name, member) in sorted {
                out.frame(name.as_bytes());
                encode(member, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_json;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Writer::new();
        encode(&parse_json(text.as_bytes()).unwrap(), &mut out);
        out.finish()
    }

    #[test]
    fn order_spelling_and_white_space_do_not_count() {
        assert_eq!(
            canonical(r#"{"b":[1,2],"a":3000.00}"#),
            canonical("{ \"\\u0061\" : 3e3,\n\"b\":[1.0, 2] }")
        );
    }

    #[test]
    fn different_values_differ() {
        let texts = [
            "null",
            "false",
            "0",
            "\"\"",
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            "\"0\"",
            "[0]",
            "[0,0]",
            r#"{"a":null}"#,
            r#"{"":null}"#,
            r#"["a",null]"#,
            "9007199254740993",
            "9007199254740992",
            "-1",
            "1",
            "0.1",
            "[1,23]",
            "[12,3]",
            r#"["ab","c"]"#,
            r#"["a","bc"]"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"b":1}"#,
            "true",
        ];
        for (index, left) in texts.iter().enumerate() {
            for right in &texts[..index] {
                assert_ne!(canonical(left), canonical(right), "{left} {right}");
            }
        }
    }

    #[test]
    fn bytes_are_not_text_and_infinity_is_not_a_number() {
        let form = |value: Value| {
            let mut out = Writer::new();
            encode(&value, &mut out);
            out.finish()
        };
        assert_ne!(form(Value::Bytes(b"a".to_vec())), form(Value::Text("a".into())));
        assert_ne!(form(Value::from_f64(f64::INFINITY)), form(Value::from_f64(f64::NEG_INFINITY)));
        assert_eq!(form(Value::from_f64(-0.0)), form(Value::from_f64(0.0)));
        assert_eq!(form(Value::from_f64(3000.0)), canonical("3e3"));
    }
}
