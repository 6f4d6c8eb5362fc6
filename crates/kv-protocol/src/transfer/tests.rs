//! Tests of all formats together: what is written is read again, wherever the input is cut into
//! pieces, and nothing that is read does harm.

use std::io::{BufReader, Read};
use std::slice::from_ref;

use proptest::prelude::*;

use super::*;
use crate::json_value::check_json;
use crate::time::TIME_MS_MAX;

const LIMITS: SizeLimits = SizeLimits { key_bytes_max: 40, value_bytes_max: 200 };

/// Everything up to the end or the first error, and whether the reader takes it for whole.
fn read_all(
    format: Format,
    input: impl BufRead,
) -> Result<(Vec<Record<'static>>, bool), (Vec<Record<'static>>, Error)> {
    let mut reader = Reader::new(format, input, LIMITS);
    let mut records = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return Ok((records, reader.is_whole())),
            Err(error) => {
                assert!(matches!(reader.next_record(), Ok(None)), "an error is the end");
                assert!(!reader.is_whole());
                return Err((records, error));
            }
        }
    }
}

fn read(format: Format, text: &str) -> Vec<Record<'static>> {
    let (records, _) = read_all(format, text.as_bytes())
        .unwrap_or_else(|(_, error)| panic!("{format}: {error}\n{text}"));
    records
}

fn refusal(format: Format, text: &str) -> String {
    match read_all(format, text.as_bytes()) {
        Ok((records, _)) => panic!("{format}: read as {records:?}\n{text}"),
        Err((_, error)) => error.to_string(),
    }
}

fn written(format: Format, records: &[Record<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(format, Vec::new());
    for record in records {
        writer.write(record).unwrap();
    }
    assert_eq!(writer.count(), records.len() as u64);
    writer.finish().unwrap()
}

fn record(key: &str, value: &str, json: bool) -> Record<'static> {
    let [key, value] = [key, value].map(|text| Cow::Owned(text.as_bytes().to_vec()));
    Record { key, value, json, expires_ms: None }
}

/// Some of everything that has a rule of its own.
fn samples() -> Vec<Record<'static>> {
    let mut samples = vec![
        record("house", "small \"red\"\n", false),
        record("n", "7", false),
        record("n-json", " [1,\n2]", true),
        record("object", "{\"a\": 1.50}", true),
        record("string", "\"text\"", true),
        record("null", "null", true),
        record("base64:x", "", false),
    ];
    samples.push(Record {
        key: Cow::Borrowed(b"\xff,"),
        value: Cow::Borrowed(b"\0\xfe"),
        json: false,
        expires_ms: Some(1_795_168_800_123),
    });
    samples
}

#[test]
fn ndjson_looks_like_this() {
    let expected = r#"{"key":"house","value":"small \"red\"\n"}
{"key":"n","value":"7"}
{"key":"n-json","value_base64":"IFsxLAoyXQ==","type":"json"}
{"key":"object","value":{"a": 1.50}}
{"key":"string","value":"text","type":"json"}
{"key":"null","value":null}
{"key":"base64:YmFzZTY0Ong=","value":""}
{"key":"base64:/yw=","value_base64":"AP4=","expires":"2026-11-20T10:00:00.123Z"}
{"end":true,"count":8}
"#;
    let found = String::from_utf8(written(Format::Ndjson, &samples())).unwrap();
    assert_eq!(found, expected);
    assert_eq!(written(Format::Ndjson, &[]), b"{\"end\":true,\"count\":0}\n");
}

#[test]
fn json_looks_like_this() {
    let found = String::from_utf8(written(Format::Json, &samples()[..2])).unwrap();
    let expected = "[\n{\"key\":\"house\",\"value\":\"small \\\"red\\\"\\n\"},\n\
                    {\"key\":\"n\",\"value\":\"7\"}\n]\n";
    assert_eq!(found, expected);
    assert_eq!(written(Format::Json, &[]), b"[]\n");
    let values: Vec<serde_json::Value> =
        serde_json::from_slice(&written(Format::Json, &samples())).unwrap();
    assert_eq!(values.len(), samples().len());
}

#[test]
fn csv_looks_like_this() {
    let expected = "key,value,value_base64,expires,type
house,\"small \"\"red\"\"\n\",,,text
n,7,,,text
n-json,\" [1,\n2]\",,,json
object,\"{\"\"a\"\": 1.50}\",,,json
string,\"\"\"text\"\"\",,,json
null,null,,,json
base64:YmFzZTY0Ong=,,,,text
base64:/yw=,,AP4=,2026-11-20T10:00:00.123Z,text
";
    let found = String::from_utf8(written(Format::Csv, &samples())).unwrap();
    assert_eq!(found, expected);
    assert_eq!(written(Format::Csv, &[]), b"key,value,value_base64,expires,type\n");
}

#[test]
fn what_people_write_by_hand_is_read() {
    let pairs = [record("a", "1", false), record("b", "2", false)];
    for (format, text) in [
        (Format::Ndjson, "{\"key\":\"a\",\"value\":\"1\"}\n\n {\"value\":\"2\", \"key\":\"b\"}"),
        (
            Format::Ndjson,
            "\u{feff}{\"key\":\"a\",\"value\":\"1\"}\r\n{\"key\":\"b\",\"value\":\"2\"}\r\n",
        ),
        (
            Format::Json,
            " [ {\"key\":\"a\",\"value\":\"1\"} ,\r\n{\"key\":\"b\",\n\"value\":\"2\"}]\n",
        ),
        (Format::Json, "\u{feff}{\"a\":\"1\",\n\t\"b\" : \"2\"\n}"),
        (Format::Csv, "key,value\na,1\nb,2"),
        (Format::Csv, "\u{feff}value , key\r\n\"1\",a\r\n\r\n2,\"b\"\r\n"),
        (Format::Csv, "type,key,value_base64\ntext,a,MQ==\n,b,Mg==\n"),
    ] {
        assert_eq!(read(format, text), pairs, "{format}: {text}");
    }
}

#[test]
fn a_flat_object_has_text_in_quotes_and_json_without() {
    let text = r#"{"a":"1","b":1,"c":[{"x":"]}"}],"d":null,"e":{},"base64:/w==":"f","":"g"}"#;
    let (records, error) = read_all(Format::Json, text.as_bytes()).unwrap_err();
    let mut expected = vec![
        record("a", "1", false),
        record("b", "1", true),
        record("c", "[{\"x\":\"]}\"}]", true),
        record("d", "null", true),
        record("e", "{}", true),
        record("", "f", false),
    ];
    expected[5].key = Cow::Borrowed(b"\xff");
    assert_eq!(records, expected);
    assert!(error.to_string().ends_with("a key of at least one byte, found an empty one"));
    assert_eq!(read(Format::Json, "{}"), []);
}

#[test]
fn an_end_tells_that_nothing_is_missing() {
    for format in [Format::Ndjson, Format::Json] {
        let whole = written(format, &samples());
        let (records, is_whole) = read_all(format, &*whole).unwrap();
        assert!(is_whole && records == samples());
        // Without the line break at its very end nothing is missing yet.
        for length in 0..whole.len() - 2 {
            match read_all(format, &whole[..length]) {
                Ok((records, is_whole)) => {
                    assert!(!is_whole, "{format} cut off after {length} bytes");
                    assert_eq!(records, samples()[..records.len()]);
                }
                Err((records, _)) => assert_eq!(records, samples()[..records.len()]),
            }
        }
    }
    let (_, is_whole) = read_all(Format::Csv, &*written(Format::Csv, &samples())).unwrap();
    assert!(!is_whole, "CSV cannot tell");
    let (_, is_whole) =
        read_all(Format::Ndjson, &b"{\"key\":\"a\",\"value\":\"1\"}\n"[..]).unwrap();
    assert!(!is_whole);
}

#[test]
fn a_fault_of_ndjson_is_told_with_its_line() {
    let a = "{\"key\":\"a\",\"value\":\"1\"}\n";
    for (text, expected) in [
        (&*format!("{a}\n{{\"key\":\"b\"}}"), "line 3, record 2: expected one of \"value\" and"),
        ("{\"value\":1}", "line 1, record 1: byte 11: missing field `key`"),
        ("{\"key\":1,\"value\":1}", "byte 8: invalid type: integer `1`, expected a string"),
        ("{\"key\":\"a\",\"value\":1,\"ttl\":1}", "unknown field `ttl`, expected one of `key`"),
        ("{\"key\":\"a\",\"value\":\"1\",\"value\":\"2\"}", "duplicate field `value`"),
        ("{\"key\":\"a\",\"value\":\"1\",\"value_base64\":\"\"}", "expected one of \"value\" and"),
        ("{\"key\":\"a\",\"value\":\"1\"", "EOF while parsing an object"),
        ("[1]", "expected"),
        ("PUT a 1", "expected value"),
        ("{\"key\":\"\",\"value\":\"1\"}", "a key of at least one byte"),
        ("{\"key\":\"base64:\",\"value\":\"1\"}", "a key of at least one byte"),
        ("{\"key\":\"base64:?\",\"value\":\"1\"}", "the key behind \"base64:\": expected base64"),
        (
            "{\"key\":\"a\",\"value_base64\":\"MQ\"}",
            "\"value_base64\": expected base64, found \"MQ\"",
        ),
        ("{\"key\":\"a\",\"value\":1,\"type\":\"text\"}", "the value of \"a\" is said to be text"),
        ("{\"key\":\"a\",\"value\":1,\"type\":\"xml\"}", "unknown variant `xml`, expected `text`"),
        ("{\"key\":\"a\",\"value_base64\":\"e30g\",\"type\":\"json\"}x", "trailing characters"),
        (
            "{\"key\":\"a\",\"value_base64\":\"ew==\",\"type\":\"json\"}",
            "said to be JSON and is not",
        ),
        ("{\"key\":\"a\",\"value\":1e999}", "said to be JSON and is not"),
        (
            "{\"key\":\"a\",\"value\":\"1\",\"expires\":\"now\"}",
            "\"expires\": expected a time such as",
        ),
        (&*format!("{a}{{\"end\":true,\"count\":2}}"), "line 2, record 2: expected 2 records, as"),
        (&*format!("{a}{{ \"end\":false,\"count\":1}}"), "expected \"end\":true"),
        (
            &*format!("{{\"end\":true,\"count\":0}}\n{a}"),
            "line 2, record 1: expected nothing after",
        ),
    ] {
        let refusal = refusal(Format::Ndjson, text);
        assert!(refusal.contains(expected), "{text}\n{refusal}");
    }
}

#[test]
fn a_fault_of_json_is_told_with_its_line() {
    for (text, expected) in [
        ("", "line 1, record 1: expected [ or {, found the end of the input"),
        ("7", "expected [ or {, found 7"),
        ("[", "line 1, record 1: expected a record, found the end"),
        ("[\n{\"key\":\"a\",\n\"value\":}]", "line 3, record 1: byte 9: expected value"),
        ("[\n{\"key\":\"a\",\"value\":1}\n\n{}]", "line 4, record 2: expected , or ], found {"),
        ("[{\"key\":\"a\",\"value\":1},]", "record 2: expected a record, found ]"),
        ("[,]", "expected a record, found ,"),
        ("[7]", "invalid type: integer `7`, expected a record"),
        ("[{\"key\":\"a\",\"value\":1]]", "expected `,` or `}`"),
        ("[{\"key\":\"a\",\"value\":\"1", "expected the rest of the value, found the end"),
        ("{\"a\"}", "expected :, found }"),
        ("{\"a\":}", "expected a value, found }"),
        ("{a:1}", "expected a key in quotes, found a"),
        ("{\"a\":1x}", "byte 2: trailing characters"),
        ("{\"a\":1,}", "expected a key in quotes, found }"),
        ("{\"a\":1]", "expected , or }, found ]"),
        ("{\"a\":1 2}", "expected , or }, found 2"),
        ("{\"a\":tru", "EOF while parsing a value"),
        ("{\"a\":\"\\ud800\"}", "byte"),
        ("[] []", "expected nothing behind the document, found ["),
    ] {
        let refusal = refusal(Format::Json, text);
        assert!(refusal.contains(expected), "{text}\n{refusal}");
    }
}

#[test]
fn a_fault_of_csv_is_told_with_its_line() {
    for (text, expected) in [
        ("", "line 1, record 1: expected a header"),
        ("a,1\nb,2\n", "found the column \"a\""),
        ("key,value,key\n", "found the column \"key\""),
        ("key\na\n", "found no such column"),
        ("value,type\na\n", "found no such column"),
        ("key,value\na,1,2\n", "line 2, record 1: expected 2 fields, as in the header, found 3"),
        ("key,value\n\"a\nb\",1\nc\n", "line 4, record 2: expected 2 fields"),
        ("key,value\n,1\n", "a key of at least one byte"),
        ("key,value,type\na,1,int\n", "\"type\": expected text or json, found \"int\""),
        ("key,value,type\na,x,json\n", "the value of \"a\" is said to be JSON and is not"),
        ("key,value,value_base64\na,x,MQ==\n", "found both"),
        ("key,value_base64\na,?\n", "\"value_base64\": expected base64"),
        ("key,value,expires\na,1,never\n", "\"expires\": expected a time"),
    ] {
        let refusal = refusal(Format::Csv, text);
        assert!(refusal.contains(expected), "{text}\n{refusal}");
    }
}

#[test]
fn the_limits_are_exact() {
    let longest = record(&"k".repeat(40), &"v".repeat(200), false);
    let long_key = record(&"k".repeat(41), "v", false);
    let long_value = record("k", &"v".repeat(201), false);
    for format in Format::ALL {
        let (records, _) = read_all(format, &*written(format, from_ref(&longest))).unwrap();
        assert_eq!(records, from_ref(&longest));
        let (_, error) = read_all(format, &*written(format, from_ref(&long_key))).unwrap_err();
        assert!(error.to_string().contains("has 41 bytes; at most 40 are"), "{format}: {error}");
        let (_, error) = read_all(format, &*written(format, from_ref(&long_value))).unwrap_err();
        assert!(error.to_string().contains("has 201 bytes; at most 200 are"), "{format}: {error}");
    }
}

/// An input without an end, which counts what is taken of it.
struct Endless<'a> {
    start: &'a [u8],
    then: u8,
    taken: &'a std::cell::Cell<usize>,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from_start = self.start.read(buffer)?;
        let length = if from_start > 0 { from_start } else { buffer.len() };
        buffer[from_start..length].fill(self.then);
        self.taken.set(self.taken.get() + length);
        Ok(length)
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let bytes_max = record_bytes_max(&LIMITS);
    for (format, start, then) in [
        (Format::Ndjson, "", b' '),
        (Format::Ndjson, "{\"key\":\"", b'x'),
        (Format::Json, "[", b'['),
        (Format::Json, "[{\"key\":\"", b'x'),
        (Format::Json, "{\"", b'\\'),
        (Format::Json, "{\"a\":", b'1'),
        (Format::Csv, "", b'x'),
        (Format::Csv, "key,value\n\"", b'\n'),
        (Format::Csv, "key,value\na", b','),
    ] {
        let taken = std::cell::Cell::new(0);
        let endless = Endless { start: start.as_bytes(), then, taken: &taken };
        let (_, error) = read_all(format, BufReader::with_capacity(64, endless)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("at most {bytes_max} bytes")), "{format}: {text}");
        // What was taken is what may have been kept: a record, and the buffers of its readers.
        assert!(taken.get() < bytes_max + (16 << 10), "{format}: {} bytes", taken.get());
    }
}

#[test]
fn an_input_that_cannot_be_read_is_said_to_be_that() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no carrier"))
        }
    }
    for format in Format::ALL {
        let (_, error) = read_all(format, BufReader::new(Broken)).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{format}: {error}");
        assert_eq!(error.to_string(), "cannot read: no carrier");
    }
}

#[test]
fn json_that_was_never_checked_is_written_so_that_the_rest_can_be_read() {
    let records = [record("a", "}", true), record("b", "1", false)];
    let text = String::from_utf8(written(Format::Json, &records)).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..most),
        "[a-z\"',\\\\\r\n\t {}\\[\\]:ä€\u{0}\u{feff}-]{0,9}".prop_map(String::into_bytes),
        prop::sample::select(
            [&b"base64:"[..], b"base64:/w==", b"end", b"\xef\xbb\xbf", b"#", b"=1+1", b"\"\""]
                .map(<[u8]>::to_vec)
                .to_vec()
        ),
    ]
}

fn json() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "null",
        "true",
        "-1.50e3",
        "18446744073709551616",
        "\"\"",
        "\"a\\n\\u00e4ä\"",
        "[]",
        "{\"a\":1,\"a\":[2]}",
        "[1, \"]\",\n 2]",
        "{\"\\\"}\":\r\n{}}",
    ]);
    let blank = prop::sample::select(vec!["", "", " ", "\n", "\r\n\t"]);
    (blank.clone(), text, blank)
        .prop_map(|(before, text, after)| format!("{before}{text}{after}").into_bytes())
}

fn any_record() -> impl Strategy<Value = Record<'static>> {
    let key = bytes(30).prop_filter("keys are not empty", |key| !key.is_empty());
    let value = prop_oneof![
        bytes(60).prop_map(|value| (value, false)),
        json().prop_map(|value| (value, true)),
        json().prop_map(|value| (value, false)),
    ];
    let expires_ms = prop::option::of(0..=TIME_MS_MAX);
    (key, value, expires_ms).prop_map(|(key, (value, json), expires_ms)| Record {
        key: Cow::Owned(key),
        value: Cow::Owned(value),
        json,
        expires_ms,
    })
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_again(
        format in any_format(),
        records in prop::collection::vec(any_record(), 0..8),
        piece in 1..40_usize,
    ) {
        let text = written(format, &records);
        if format == Format::Ndjson {
            let lines = text.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(lines, records.len() + 1);
        }
        prop_assert!(std::str::from_utf8(&text).is_ok());
        let (found, is_whole) = read_all(format, BufReader::with_capacity(piece, &*text))
            .map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(found, records);
        prop_assert_eq!(is_whole, format != Format::Csv);
    }

    #[test]
    fn hostile_bytes_never_panic(
        format in any_format(),
        text in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = read_all(format, &*text);
    }

    #[test]
    fn damage_never_panics_and_what_is_read_is_well_formed(
        format in any_format(),
        records in prop::collection::vec(any_record(), 1..6),
        at in any::<prop::sample::Index>(),
        with in prop::sample::select(b"\"\\{}[],:\n\r 0a\xff\0".to_vec()),
        piece in 1..40_usize,
    ) {
        let mut text = written(format, &records);
        let at = at.index(text.len());
        text[at] = with;
        let found = match read_all(format, BufReader::with_capacity(piece, &*text)) {
            Ok((found, _)) | Err((found, _)) => found,
        };
        for record in found {
            prop_assert!(!record.key.is_empty());
            prop_assert!(!record.json || check_json(&record.value).is_ok());
        }
    }
}
