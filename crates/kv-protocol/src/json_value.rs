//! Whether a value is JSON that can be stored as such and shown to every client.
//!
//! A JSON value stands as itself in JSON replies, inside lists of other clients' values. So it is
//! not enough that its grammar is right: one value that a client's parser chokes on would make a
//! whole list unreadable. Refused are therefore also what RFC 8259 leaves to implementations:
//! nesting deeper than [`JSON_DEPTH_MAX`], numbers beyond 64-bit floating point,
//! and halves of surrogate pairs. Nothing is built while checking, and nothing is changed: the
//! value keeps its bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::JSON_DEPTH_MAX;

/// Why a value is not JSON that can be stored, and where.
#[derive(Debug)]
pub struct JsonError(serde_json::Error);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for JsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Checks that `value` is one JSON value with nothing but white space around it.
pub fn check_json(value: &[u8]) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(value);
    Readable { depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end()).map_err(JsonError)
}

/// Reads a value to its end and keeps nothing of it.
struct Readable {
    /// How many arrays and objects are around it.
    depth: usize,
}

impl Readable {
    /// What reads the elements of an array or object.
    fn inner<E: Error>(&self) -> Result<Readable, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {JSON_DEPTH_MAX} deep")));
        }
        Ok(Readable { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Readable {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self.inner()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key_seed(self.inner()?)?.is_some() {
            members.next_value_seed(self.inner()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_of_every_type_passes() {
        for json in [
            "null",
            "true",
            " -1.5e10\n",
            "18446744073709551615",
            "123456789012345678901234567890",
            "\"\"",
            "\"\\ud83d\\ude00 ü\"",
            "[]",
            "{\"a\":[1,{\"b\":null}],\"a\":2}",
        ] {
            assert!(check_json(json.as_bytes()).is_ok(), "{json}");
        }
    }

    #[test]
    fn what_is_not_json_does_not() {
        for text in ["", " ", "v", "01", "1 2", "{", "[1,]", "{a:1}", "'a'", "\"\n\"", "NaN"] {
            assert!(check_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(check_json(b"\"\xff\"").is_err());
        assert!(check_json(b"{\"\xff\":1}").is_err());
    }

    #[test]
    fn what_others_could_not_read_does_not() {
        for text in ["1e999", "[\"\\ud83d\"]", "{\"\\udc00\":1}"] {
            assert!(check_json(text.as_bytes()).is_err(), "{text}");
        }
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_json(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        let error = check_json(nested(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("nested more than 100 deep"), "{error}");
        assert!(check_json("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_passes_can_be_read(text in r#"[\[\]{}",:\\u0-9eE.truenls -]{0,12}"#) {
            let is_readable = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(check_json(text.as_bytes()).is_ok(), is_readable);
        }
    }
}
