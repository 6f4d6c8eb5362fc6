//! Tests of whole requests: what all commands have in common, writing and reading again, and
//! hostile bytes. What is particular to one command is tested in its file.

use std::borrow::Cow;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::command::COMMANDS;
use crate::error_code::ErrorCode;

/// The request of a line that must be one.
pub(crate) fn parsed(line: &str) -> Request<'_> {
    match Request::parse(line.as_bytes()) {
        Ok(Some(request)) => request,
        other => panic!("{line}: {other:?}"),
    }
}

/// The text of the ARGUMENT error of a line that must be wrong; checks that it ends with the
/// usage of the command.
pub(crate) fn argument_error(line: &str) -> String {
    let error = Request::parse(line.as_bytes()).expect_err(line);
    assert_eq!(error.code, ErrorCode::Argument, "{line}: {error}");
    let verb = line.split(' ').next().unwrap();
    let spec = command::find(verb.as_bytes()).unwrap();
    assert!(error.text.starts_with(spec.name), "{error}");
    assert!(error.text.ends_with(&format!(": {}", spec.syntax)), "{error}");
    error.text.into_owned()
}

#[test]
fn a_line_without_a_word_is_ignored() {
    for line in [&b""[..], b" ", b"\t  \t"] {
        assert_eq!(Request::parse(line), Ok(None));
    }
}

#[test]
fn a_lone_cr_is_a_byte_like_any_other() {
    assert_eq!(Request::parse(b"\r").unwrap_err().code, ErrorCode::Unknown);
    let request = Request::parse(b"GET a\rb").unwrap().unwrap();
    assert!(matches!(request, Request::Get { key, .. } if *key == *b"a\rb"));
}

#[test]
fn words_are_equal_whether_quoted_or_not() {
    assert_eq!(parsed(r#""PUT" "k" "v" "1" "IF" "VERSION" "3""#), parsed("put k v 1 if version 3"));
    assert_eq!(parsed(r#""\x47ET" k"#), parsed("GET k"));
}

#[test]
fn a_fault_of_quoting_is_syntax_wherever_it_is() {
    for line in [r#"""#, r#"GET "k"#, r#"GET k "\q""#, r#"PUT k v "1"x"#, r#"PING "x"#] {
        assert_eq!(Request::parse(line.as_bytes()).unwrap_err().code, ErrorCode::Syntax, "{line}");
    }
    let error = Request::parse(b"PUT k \"abc").unwrap_err();
    assert!(error.text.starts_with("byte 7: this quote is never closed"), "{error}");
}

#[test]
fn keys_and_values_without_escapes_are_borrowed() {
    for line in ["PUT k v", r#"PUT "k" "a b""#] {
        let Request::Put { key, value, .. } = parsed(line) else { unreachable!() };
        assert!(matches!((key, value), (Cow::Borrowed(_), Cow::Borrowed(_))));
    }
}

#[test]
fn commands_of_later_versions_are_unknown_now() {
    for verb in ["AUTH", "KILL"] {
        let error = Request::parse(format!("{verb} k 1").as_bytes()).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unknown);
    }
}

#[test]
fn shown_input_is_cut_off_and_its_control_bytes_are_escaped() {
    let line = format!("GET k \n{}", "x".repeat(100_000));
    let error = Request::parse(line.as_bytes()).unwrap_err();
    assert!(error.text.len() < 300);
    assert!(error.text.contains(r#""\nxxx"#) && !error.text.contains('\n'));
}

fn bytes() -> impl Strategy<Value = Cow<'static, [u8]>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(
            [&b"NESTED"[..], b"LIMIT", b"5", b"HTTP/1.1", b"-1", b"IF", b" ", b"\"", b"JSON"]
                .map(<[u8]>::to_vec)
                .to_vec()
        ),
    ]
    .prop_map(Cow::Owned)
}

fn key() -> impl Strategy<Value = Cow<'static, [u8]>> {
    bytes().prop_filter("keys are not empty", |key| !key.is_empty())
}

fn txn() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(any::<u64>())
}

fn begin() -> impl Strategy<Value = Request<'static>> {
    let isolation = prop::option::of(prop::sample::select(Isolation::ALL.to_vec()));
    let parent =
        prop_oneof![Just(Parent::None), any::<u64>().prop_map(Parent::Id), Just(Parent::Current)];
    let wait = prop::option::of(any::<u64>().prop_map(Duration::from_millis));
    (parent, isolation, txn(), wait).prop_map(|(parent, isolation, at, wait)| {
        let may_read_at = parent == Parent::None && isolation == Some(Isolation::ReadOnly);
        Request::Begin { parent, isolation, at: at.filter(|_| may_read_at), wait }
    })
}

fn put() -> impl Strategy<Value = Request<'static>> {
    let condition = prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(Condition::Version),
    ];
    let json = ["null", "[1, \"a\\n\"]", "{}", "\n7\r"].map(|json| Cow::Borrowed(json.as_bytes()));
    let value = prop_oneof![
        bytes().prop_map(|value| (value, false)),
        prop::sample::select(json.to_vec()).prop_map(|value| (value, true)),
    ];
    let ttl_s = prop::option::of(1..=u64::MAX);
    (key(), value, txn(), ttl_s, prop::option::of(condition)).prop_map(
        |(key, (value, json), txn, ttl_s, condition)| {
            let options = PutOptions { ttl_s, condition, json };
            Request::Put { key, value, txn, options }
        },
    )
}

fn selection() -> impl Strategy<Value = Selection<'static>> {
    let interval = prop_oneof![
        Just(Interval::All),
        bytes().prop_map(Interval::Prefix),
        (bytes(), bytes()).prop_map(|(one, other)| {
            let (from, to) = if one <= other { (one, other) } else { (other, one) };
            Interval::Range { from, to }
        }),
    ];
    let (key, value) = (prop::option::of(pattern()), prop::option::of(value_condition()));
    (interval, key, value, txn(), prop::option::of(bytes()), txn()).prop_map(
        |(interval, key, value, limit, after, txn)| Selection {
            interval,
            key,
            value,
            limit,
            after,
            txn,
        },
    )
}

fn pattern() -> impl Strategy<Value = Pattern<'static>> {
    prop_oneof![bytes().prop_map(Pattern::Glob), bytes().prop_map(Pattern::Regex)]
}

fn value_condition() -> impl Strategy<Value = ValueCondition<'static>> {
    prop_oneof![
        bytes().prop_map(ValueCondition::Equal),
        pattern().prop_map(ValueCondition::Matches),
        (bytes(), bytes()).prop_map(|(one, other)| {
            let (from, to) = if one <= other { (one, other) } else { (other, one) };
            ValueCondition::Range { from, to }
        }),
        (bytes(), bytes()).prop_map(|(low, high)| ValueCondition::Number { low, high }),
    ]
}

fn nearest() -> impl Strategy<Value = Nearest<'static>> {
    (bytes(), any::<u64>(), prop::option::of(bytes()), txn())
        .prop_map(|(number, rows, prefix, txn)| Nearest { number, rows, prefix, txn })
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![
        (txn(), any::<bool>()).prop_map(|(txn, for_update)| Read::Newest { txn, for_update }),
        any::<u64>().prop_map(Read::Version),
        any::<u64>().prop_map(Read::At),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let simple = prop::sample::select(vec![
        Request::CommitAll,
        Request::Transactions,
        Request::Revision,
        Request::Locks,
        Request::Shards { with_load: false },
        Request::Shards { with_load: true },
        Request::Stats,
        Request::Check,
        Request::Checkpoint,
        Request::Format(Format::Text),
        Request::Format(Format::Json),
        Request::Ping,
        Request::Version,
        Request::Quit,
    ]);
    let help = prop::option::of(prop::sample::select(COMMANDS.to_vec())).prop_map(Request::Help);
    prop_oneof![
        begin(),
        txn().prop_map(|txn| Request::Commit { txn }),
        txn().prop_map(|txn| Request::Rollback { txn }),
        txn().prop_map(|txn| Request::Token { txn }),
        bytes().prop_map(|token| Request::Attach { token }),
        put(),
        (key(), read()).prop_map(|(key, read)| Request::Get { key, read }),
        (key(), txn(), txn()).prop_map(|(key, txn, if_version)| Request::Del {
            key,
            txn,
            if_version
        }),
        (key(), txn()).prop_map(|(key, txn)| Request::Exists { key, txn }),
        (key(), any::<i64>(), txn()).prop_map(|(key, by, txn)| Request::Incr { key, by, txn }),
        (key(), txn()).prop_map(|(key, txn)| Request::Meta { key, txn }),
        (key(), 1..=u64::MAX, txn()).prop_map(|(key, ttl_s, txn)| Request::Expire {
            key,
            ttl_s,
            txn
        }),
        (key(), txn()).prop_map(|(key, txn)| Request::Persist { key, txn }),
        (key(), txn()).prop_map(|(key, txn)| Request::Ttl { key, txn }),
        (key(), txn()).prop_map(|(key, limit)| Request::History { key, limit }),
        selection().prop_map(|selection| Request::Scan(Box::new(selection))),
        selection().prop_map(|selection| Request::Count(Box::new(selection))),
        nearest().prop_map(|nearest| Request::Nearest(Box::new(nearest))),
        txn().prop_map(|txn| Request::ShowAll { txn }),
        key().prop_map(|file| Request::Backup { file }),
        simple,
        help,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_written_is_read_again(request in request()) {
        let mut line = Vec::new();
        request.write(&mut line);
        prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        prop_assert_eq!(Request::parse(&line), Ok(Some(request)));
    }

    #[test]
    fn a_written_request_is_one_line_and_never_taken_for_http(request in request()) {
        let mut line = Vec::new();
        request.write(&mut line);
        let length = line.len();
        line.push(b'\n');
        let framed = crate::LineDecoder::new(length).next(&line);
        prop_assert_eq!(framed, crate::Framed::Line { line: 0..length, consumed: length + 1 });
    }

    #[test]
    fn hostile_bytes_never_panic(line in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Request::parse(&line);
    }

    #[test]
    fn hostile_words_never_panic_and_errors_stay_on_one_line(
        verb in prop::sample::select(COMMANDS.to_vec()),
        words in prop::collection::vec(bytes(), 0..6),
    ) {
        let mut line = verb.name.as_bytes().to_vec();
        for word in &words {
            line.push(b' ');
            line.extend_from_slice(word);
        }
        if let Err(error) = Request::parse(&line) {
            prop_assert!(!error.text.bytes().any(|byte| byte.is_ascii_control()), "{}", error);
        }
    }
}
