//! Replies in the server's JSON format, taken apart: what the tables and files of `--json`, `--csv`
//! and the like are made of.
//!
//! Every value is kept as the text that the server sent, so that numbers of any length and JSON
//! values come out as they went in.

use std::fmt;

use kv_client::{Error, ErrorCode, ServerError};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in their order.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl Members {
    /// The last member of this name: a list that failed midway has a second `status`.
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(member, _)| member == name).map(|(_, value)| &**value)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(cell)
    }
}

/// A reply.
#[derive(Debug)]
pub(crate) enum Answer {
    /// One thing: its name, and what it is.
    Single {
        /// What the object is without its `status`.
        columns: Vec<(String, String)>,
        /// Whether the answer is that there is nothing.
        is_missing: bool,
    },
    /// A list.
    Rows(Vec<Row>),
}

/// A row of a list: the object that it is, and its members.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) object: String,
    pub(crate) columns: Vec<(String, String)>,
}

/// Takes a reply apart; a refusal is an error.
pub(crate) fn parse(object: &str) -> Result<Answer, Error> {
    let odd = |error: serde_json::Error| Error::Protocol(error.to_string());
    let members: Members = serde_json::from_str(object).map_err(odd)?;
    if members.text("status").as_deref() == Some("Error") {
        let code = members.text("code").unwrap_or_default();
        let message = members.text("message").unwrap_or_default();
        let Some(code) = ErrorCode::parse(code.as_bytes()) else {
            return Err(Error::Protocol(format!("the error code {code} is unknown")));
        };
        return Err(Error::Server(ServerError { code, message }));
    }
    if let Some(rows) = members.get("rows") {
        let rows: Vec<Box<RawValue>> = serde_json::from_str(rows.get()).map_err(odd)?;
        let rows = rows.iter().map(|row| row_of(row.get().to_owned()));
        return Ok(Answer::Rows(rows.collect::<Result<_, _>>().map_err(odd)?));
    }
    if let Some(data) = members.get("data") {
        let pairs: Members = serde_json::from_str(data.get()).map_err(odd)?;
        // The key is the name of each; as a row it is a member like the others.
        let rows = pairs.0.iter().map(|(key, of)| {
            let key = serde_json::to_string(key).unwrap_or_default();
            let rest = of.get().strip_prefix('{').unwrap_or_default();
            row_of(format!("{{\"key\":{key},{rest}"))
        });
        return Ok(Answer::Rows(rows.collect::<Result<_, _>>().map_err(odd)?));
    }
    let is_missing = members.text("found").as_deref() == Some("false");
    // What is known of a key is an object within: its members are what is asked for.
    let within = members.get("result").and_then(|result| {
        let is_object = result.get().starts_with("{\"version\":");
        is_object.then(|| serde_json::from_str::<Members>(result.get()).ok()).flatten()
    });
    let columns = within
        .unwrap_or(members)
        .0
        .iter()
        .filter(|(name, _)| name != "found")
        .map(|(name, value)| (name.clone(), cell(value)))
        .collect::<Vec<_>>();
    let says_more = columns.len() > 1;
    let columns = columns.into_iter().filter(|(name, _)| !says_more || name != "status");
    Ok(Answer::Single { columns: columns.collect(), is_missing })
}

fn row_of(object: String) -> Result<Row, serde_json::Error> {
    let members: Members = serde_json::from_str(&object)?;
    let columns = members.0.iter().map(|(name, value)| (name.clone(), cell(value))).collect();
    Ok(Row { object, columns })
}

/// A member as a field of a table: strings without their quotes, null as nothing.
fn cell(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        text if text.starts_with('"') => {
            serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_taken_apart() {
        let single = |text: &str| match parse(text) {
            Ok(Answer::Single { columns, is_missing }) => (columns, is_missing),
            other => panic!("{text}: {other:?}"),
        };
        let of = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(single(r#"{"status":"Ok"}"#), (of("status", "Ok"), false));
        let began = r#"{"status":"Ok","transaction_id":1}"#;
        assert_eq!(single(began), (of("transaction_id", "1"), false));
        let found = r#"{"status":"Ok","found":true,"result":"a\"b"}"#;
        assert_eq!(single(found), (of("result", "a\"b"), false));
        let missing = r#"{"status":"Ok","found":false,"result":null}"#;
        assert_eq!(single(missing), (of("result", ""), true));
        let meta = r#"{"status":"Ok","found":true,"result":{"version":3,"ttl":null}}"#;
        let columns = [of("version", "3"), of("ttl", "")].concat();
        assert_eq!(single(meta), (columns, false));
    }

    #[test]
    fn lists_are_rows_whatever_their_form() {
        let rows = |text: &str| match parse(text) {
            Ok(Answer::Rows(rows)) => rows.into_iter().map(|row| row.object).collect::<Vec<_>>(),
            other => panic!("{text}: {other:?}"),
        };
        let list = r#"{"status":"Ok","rows":[{"key":"a","value":[1, 2]}],"count":1}"#;
        assert_eq!(rows(list), [r#"{"key":"a","value":[1, 2]}"#]);
        let shown = r#"{"status":"Ok","data":{"a\"":{"value":"1","transaction_id":null}}}"#;
        assert_eq!(rows(shown), [r#"{"key":"a\"","value":"1","transaction_id":null}"#]);
        assert!(rows(r#"{"status":"Ok","data":{}}"#).is_empty());
    }

    #[test]
    fn a_refusal_is_an_error_even_behind_rows() {
        let midway = concat!(
            r#"{"status":"Ok","rows":[{"key":"a","value":"1"}],"status":"Error","#,
            r#""code":"TIMEOUT","message":"late","retryable":true,"transaction":"none"}"#,
        );
        let Err(Error::Server(refusal)) = parse(midway) else { panic!("expected a refusal") };
        assert_eq!((refusal.code, &*refusal.message), (ErrorCode::Timeout, "late"));
    }
}
