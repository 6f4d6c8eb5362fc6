//! Scans with conditions, and the k nearest: what they find, what they lock, and that they let
//! others have their turn.

use kv_core::{
    BeginOptions, Conditions, Database, Error, Interval, Isolation, Number, Pattern, Pause,
    ScanOptions, Session, Step, TxnId, ValueCondition, ValueKind,
};

const KEYS: usize = 20_000;

fn number(text: &str) -> Number {
    Number::parse(text.as_bytes()).unwrap()
}

/// `k00000` to `k19999`, each with its number as value.
fn numbered() -> Database {
    let db = Database::builder().shards(4).open();
    for key in 0..KEYS {
        db.put(format!("k{key:05}"), key.to_string()).unwrap();
    }
    db
}

fn glob(glob: &str) -> Conditions {
    Conditions { key: Some(Pattern::glob(glob.as_bytes()).unwrap()), value: None }
}

fn between(low: &str, high: &str) -> Conditions {
    let value = ValueCondition::between(low.as_bytes(), high.as_bytes()).unwrap();
    Conditions { key: None, value: Some(value) }
}

fn of(conditions: Conditions, limit: Option<u64>) -> ScanOptions {
    ScanOptions { conditions, limit, ..ScanOptions::default() }
}

/// Calls an operation until it has a result; tells how often it let others have their turn.
fn run<T>(mut operation: impl FnMut() -> Step<T>) -> (Result<T, Error>, usize) {
    let mut turns = 0;
    loop {
        match operation() {
            Ok(result) => return (Ok(result), turns),
            Err(Pause::Yield) => turns += 1,
            Err(Pause::Failed(error)) => return (Err(*error), turns),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn keys(rows: &[kv_core::Row]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8_lossy(row.key()).into_owned()).collect()
}

fn begin(session: &mut Session) -> TxnId {
    session.begin(BeginOptions::default()).unwrap()
}

#[test]
fn a_scan_finds_what_meets_all_conditions_in_key_order() {
    let db = numbered();
    let both = Conditions { key: glob("k0*5").key, value: between("10", "40.5").value };
    let found = |options: ScanOptions| keys(&db.view(|txn| txn.scan(&options)).unwrap());
    assert_eq!(found(of(both.clone(), None)), ["k00015", "k00025", "k00035"]);
    assert_eq!(found(of(both.clone(), Some(2))), ["k00015", "k00025"]);
    let after = Interval::all().after(b"k00015");
    let options = ScanOptions { interval: after, ..of(both, Some(1)) };
    assert_eq!(found(options), ["k00025"], "a cursor goes on after the last key");
    let value = Pattern::regex(b"^1.*99$").unwrap();
    let regex = Conditions { key: None, value: Some(ValueCondition::Matches(value)) };
    assert_eq!(found(of(regex, None)).len(), 111);
}

#[test]
fn a_transaction_searches_its_own_writes_and_not_what_they_hide() {
    let db = numbered();
    let found = db.update(|txn| {
        txn.put("k00010", "none")?;
        txn.delete("k00011")?;
        txn.put("k00012x", "12.5")?;
        txn.scan(&of(between("10", "13"), Some(9)))
    });
    assert_eq!(keys(&found.unwrap()), ["k00012", "k00012x", "k00013"]);
}

#[test]
fn a_search_that_finds_nothing_lets_others_have_their_turn() {
    let db = numbered();
    let mut session = db.session();
    let mut scan = session.scan(None, &of(glob("*x"), None)).unwrap();
    let (row, turns) = run(|| scan.next_row());
    assert!(row.unwrap().is_none() && turns >= 4, "{turns} turns");
    let mut scan = session.scan(None, &of(between("0", "1e9"), None)).unwrap();
    let (rows, turns) = run(|| scan.count_rows(u64::MAX));
    assert_eq!(rows, Ok(KEYS as u64), "what was counted before a pause is not lost");
    assert!(turns >= 4, "{turns} turns");
    let interval = Interval::all();
    let (nearest, _) = run(|| session.nearest(None, &number("5"), 1, &interval));
    let mut nearest = nearest.unwrap();
    let (row, turns) = run(|| nearest.next_row());
    assert!(row.unwrap().is_some() && turns >= 4, "{turns} turns");
}

/// Takes many turns if it is compared with two thousand bytes.
fn slow(last: &str) -> Pattern {
    Pattern::regex(format!("(?s-u)^a(?:.{{2,3}}){{800}}{last}$").as_bytes()).unwrap()
}

#[test]
fn a_comparison_that_takes_long_lets_others_have_their_turn() {
    let db = Database::builder().shards(4).open();
    let long = "ab".repeat(1000);
    db.put("a", "1").unwrap();
    db.put(&long, "1").unwrap();
    db.put("l", &long).unwrap();
    let mut session = db.session();
    let of_key = |last| Conditions { key: Some(slow(last)), value: None };
    let value = |last| Some(ValueCondition::Matches(slow(last)));
    let of_value = |last| Conditions { key: None, value: value(last) };
    for (conditions, found) in [
        (of_key("b"), Some(long.as_bytes())),
        (of_value("b"), Some(&b"l"[..])),
        (of_key("c"), None),
        (of_value("c"), None),
        (Conditions { value: value("b"), ..of_key("b") }, None),
    ] {
        for txn in [None, Some(begin(&mut session))] {
            let options = of(conditions.clone(), Some(1));
            let (scan, before) = run(|| session.scan(txn, &options));
            let mut scan = scan.unwrap();
            let (row, turns) = run(|| scan.next_row());
            assert!(before + turns > 10, "{before} and {turns} turns");
            let row = row.unwrap();
            assert_eq!(row.as_ref().map(kv_core::Row::key), found);
        }
        session.rollback_all();
    }
}

#[test]
fn an_own_write_that_is_compared_for_long_is_not_taken_for_what_others_commit() {
    let db = Database::builder().shards(4).open();
    let long = "ab".repeat(1000);
    db.update(|txn| txn.put_until("k", &long, ValueKind::Text, 4_000_000_000_000)).unwrap();
    let (mut session, mut other) = (db.session(), db.session());
    let options = BeginOptions { isolation: Some(Isolation::Snapshot), ..BeginOptions::default() };
    let txn = session.begin(options).unwrap();
    session.expire_after(Some(txn), b"k", None).unwrap();
    let value = Some(ValueCondition::Matches(slow("b")));
    let options = of(Conditions { key: None, value }, None);
    let mut scan = session.scan(Some(txn), &options).unwrap();
    assert!(matches!(scan.next_row(), Err(Pause::Yield)));
    session.rollback(Some(txn)).unwrap();
    other.put(None, b"k", b"other", ValueKind::Text, None).unwrap();
    let (row, _) = run(|| scan.next_row());
    assert_eq!(row.unwrap().unwrap().value().as_deref(), Some(long.as_bytes()));
}

#[test]
fn with_a_limit_the_search_pauses_before_it_locks_and_locks_up_to_the_last_row() {
    let db = numbered();
    let (mut session, mut other) = (db.session(), db.session());
    let txn = begin(&mut session);
    let options = of(between("12000", "12001"), Some(2));
    let (scan, turns) = run(|| session.scan(Some(txn), &options));
    assert!(turns >= 4, "{turns} turns");
    let mut scan = scan.unwrap();
    assert_eq!(run(|| scan.count_rows(u64::MAX)).0, Ok(2));
    let put = |session: &mut Session, key: &str| {
        session.put(None, key.as_bytes(), b"1", ValueKind::Text, None)
    };
    assert!(put(&mut other, "k12002").is_ok() && put(&mut other, "l").is_ok());
    for examined in ["a", "k00000", "k12001"] {
        assert!(matches!(put(&mut other, examined), Err(Pause::Lock(_))), "{examined}");
        other.expire();
        assert!(matches!(put(&mut other, examined), Err(Pause::Failed(_))));
    }
}

#[test]
fn a_search_begins_anew_if_something_else_was_done() {
    let db = numbered();
    let mut session = db.session();
    let txn = begin(&mut session);
    let options = of(between("12000", "12001"), Some(2));
    assert!(matches!(session.scan(Some(txn), &options), Err(Pause::Yield)));
    session.put(Some(txn), b"a", b"12000", ValueKind::Text, None).unwrap();
    let (scan, _) = run(|| session.scan(Some(txn), &options));
    let mut scan = scan.unwrap();
    let (first, _) = run(|| scan.next_row());
    assert_eq!(first.unwrap().unwrap().key(), b"a");
    // The lock ends with the second row, which the first search would have gone beyond.
    let mut other = db.session();
    assert!(other.put(None, b"k12001", b"1", ValueKind::Text, None).is_ok());
}

#[test]
fn the_nearest_come_closest_first_and_of_equals_the_first_key() {
    let db = Database::builder().shards(4).open();
    for (key, value) in [
        ("a", "10"),
        ("b", "-10"),
        ("c", "9.5"),
        ("d", "text"),
        ("e", "1e1"),
        ("f", "0"),
        ("g", "1000000000000000000001"),
        ("h", "1000000000000000000003"),
        ("i", ""),
    ] {
        db.put(key, value).unwrap();
    }
    let all = Interval::all();
    let nearest =
        |x: &str, rows| keys(&db.view(|txn| txn.nearest(&number(x), rows, &all)).unwrap()).concat();
    assert_eq!(nearest("0", 4), "fcab");
    assert_eq!(nearest("0", 100), "fcabegh");
    assert_eq!(nearest("10", 3), "aec");
    assert_eq!(nearest("9.75", 3), "ace", "both are as close: the lesser key comes first");
    assert_eq!(nearest("1000000000000000000002", 2), "gh");
    assert_eq!(nearest("1000000000000000000002.1", 2), "hg");
    assert_eq!(nearest("-1e99", 1), "b");
    assert_eq!(nearest("5", 0), "");
    let some = Interval::range(b"d", b"e");
    assert!(db.view(|txn| txn.nearest(&number("5"), 3, &some)).unwrap().is_empty());
    let refused = db.view(|txn| txn.nearest(&number("5"), 10_001, &all)).unwrap_err();
    assert_eq!(refused.code(), "LIMIT");
}

#[test]
fn the_nearest_lock_all_that_was_looked_at() {
    let db = numbered();
    let (mut session, mut other) = (db.session(), db.session());
    let txn = begin(&mut session);
    let interval = Interval::prefix(b"k1");
    let mut nearest = session.nearest(Some(txn), &number("5"), 1, &interval).unwrap();
    assert_eq!(run(|| nearest.next_row()).0.unwrap().unwrap().key(), b"k10000");
    assert!(other.put(None, b"k0", b"1", ValueKind::Text, None).is_ok());
    let put = other.put(None, b"k1", b"1", ValueKind::Text, None);
    assert!(matches!(put, Err(Pause::Lock(_))));
}
