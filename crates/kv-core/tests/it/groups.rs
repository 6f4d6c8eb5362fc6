//! Groups: several commands as one, alone and within transactions; and what is watched for them.

use std::time::Duration;

use kv_core::{
    BeginOptions, Condition, Database, Datum, Error, GroupLocks, Mode, Pause, Session, Step,
    Update, ValueKind, Version,
};

use crate::driving::run;

fn put(session: &mut Session, key: &str, value: &str) -> Step<()> {
    session.put(None, key.as_bytes(), value.as_bytes(), ValueKind::Text, None)
}

fn get(session: &mut Session, key: &str) -> Option<String> {
    let value = run(session, |session| session.get(None, key.as_bytes())).unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn locks(exclusive: &[&str], shared: &[&str]) -> GroupLocks {
    let mut locks = GroupLocks::default();
    shared.iter().for_each(|key| locks.key(key.as_bytes(), Mode::Shared));
    exclusive.iter().for_each(|key| locks.key(key.as_bytes(), Mode::Exclusive));
    locks
}

fn put_all(session: &mut Session, keys: &[&str], value: &str) -> Step<()> {
    let locks = locks(keys, &[]);
    session.group(None, &locks, |session| keys.iter().try_for_each(|key| put(session, key, value)))
}

fn waits(outcome: Step<()>) -> kv_core::LockWait {
    match outcome {
        Err(Pause::Lock(wait)) => wait,
        other => panic!("{other:?}"),
    }
}

fn failed<T: std::fmt::Debug>(outcome: Step<T>) -> Error {
    match outcome {
        Err(Pause::Failed(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_one_commit_and_takes_no_number() {
    let db = Database::builder().open();
    let mut session = db.session();
    put_all(&mut session, &["b", "a", "c"], "1").unwrap();
    assert_eq!(db.revision().0, 1);
    assert_eq!(session.last_commit().0, 1);
    assert_eq!(session.begin(BeginOptions::default()).unwrap().0, 1);
    session.rollback(None).unwrap();
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn a_group_that_waits_has_written_nothing_and_goes_on_where_it_was() {
    let db = Database::builder().shards(4).open();
    let (mut one, mut other) = (db.session(), db.session());
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "b", "one").unwrap();
    let keys = ["a", "b", "c"];
    let wait = waits(put_all(&mut other, &keys, "other"));
    assert!(wait.deadline().is_some());
    assert_eq!(get(&mut db.session(), "a"), None);
    // What it has locked already, it keeps while it waits.
    let mut third = db.session();
    let held = third.put(None, b"a", b"third", ValueKind::Text, None);
    waits(held);
    third.give_up();
    waits(put_all(&mut other, &keys, "other"));
    one.commit(None).unwrap();
    put_all(&mut other, &keys, "other").unwrap();
    assert_eq!(get(&mut one, "b").as_deref(), Some("other"));
    assert_eq!(get(&mut one, "c").as_deref(), Some("other"));
    drop((one, other, third));
    db.check_idle().unwrap();
}

#[test]
fn a_group_that_is_given_up_leaves_no_trace() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "b", "one").unwrap();
    waits(put_all(&mut other, &["a", "b"], "other"));
    other.expire();
    let late = failed(put_all(&mut other, &["a", "b"], "other"));
    assert!(matches!(late, Error::LockTimeout { .. }), "{late}");
    waits(put_all(&mut other, &["a", "b"], "other"));
    other.give_up();
    put(&mut one, "a", "one").unwrap();
    one.commit(None).unwrap();
    assert_eq!(get(&mut other, "a").as_deref(), Some("one"));
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn a_body_that_fails_takes_all_of_it_back() {
    let db = Database::builder().open();
    let mut session = db.session();
    put(&mut session, "text", "x").unwrap();
    let outcome = session.group(None, &locks(&["a", "text"], &[]), |session| {
        put(session, "a", "1")?;
        session.add(None, b"text", 1)
    });
    assert!(matches!(failed(outcome), Error::NotAnInteger(_)));
    assert_eq!(get(&mut session, "a"), None);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn within_a_transaction_a_group_is_nested_and_rolled_back_with_it() {
    let db = Database::builder().open();
    let mut session = db.session();
    session.begin(BeginOptions::default()).unwrap();
    put(&mut session, "a", "0").unwrap();
    put_all(&mut session, &["a", "b"], "1").unwrap();
    let outcome = session.group(None, &locks(&["a", "c"], &[]), |session| {
        put(session, "a", "2")?;
        put(session, "c", "2")?;
        session.put(None, b"b", b"2", ValueKind::Text, Some(Condition::Absent))
    });
    assert!(matches!(failed(outcome), Error::Precondition { .. }));
    assert_eq!(get(&mut session, "a").as_deref(), Some("1"));
    assert_eq!(get(&mut session, "c"), None);
    let open = session.transactions();
    assert_eq!((open.len(), open[0].writes), (1, 2));
    session.rollback(None).unwrap();
    assert_eq!(get(&mut session, "a"), None);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn a_group_within_a_transaction_that_pauses_keeps_what_the_transaction_wrote() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    other.begin(BeginOptions::default()).unwrap();
    put(&mut other, "a", "before").unwrap();
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "z", "one").unwrap();
    let attempt = |session: &mut Session| {
        session.group(None, &locks(&["a"], &[]), |session| {
            put(session, "a", "within")?;
            put(session, "z", "within")
        })
    };
    waits(attempt(&mut other));
    assert_eq!(other.transactions()[0].writes, 1);
    one.rollback(None).unwrap();
    attempt(&mut other).unwrap();
    assert_eq!(get(&mut other, "z").as_deref(), Some("within"));
    other.commit(None).unwrap();
    assert_eq!(get(&mut one, "a").as_deref(), Some("within"));
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn a_deadlock_outside_a_transaction_is_tried_again() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "b", "one").unwrap();
    waits(put_all(&mut other, &["a", "b", "c"], "other"));
    // It holds a; whoever has b and wants a closes the cycle, and is the victim.
    assert!(matches!(failed(put(&mut one, "a", "one")), Error::Deadlock { .. }));
    one.rollback(None).unwrap();
    put_all(&mut other, &["a", "b", "c"], "other").unwrap();

    // Now the group closes it: it begins again, and waits.
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "c", "one").unwrap();
    let mut third = db.session();
    third.begin(BeginOptions::default()).unwrap();
    put(&mut third, "b", "third").unwrap();
    waits(put_all(&mut other, &["a", "b", "c"], "other"));
    waits(put(&mut one, "a", "one"));
    third.commit(None).unwrap();
    waits(put_all(&mut other, &["a", "b", "c"], "other"));
    put(&mut one, "a", "one").unwrap();
    one.commit(None).unwrap();
    put_all(&mut other, &["a", "b", "c"], "last").unwrap();
    assert_eq!(get(&mut one, "a").as_deref(), Some("last"));
    drop((one, other, third));
    db.check_idle().unwrap();
}

#[test]
fn all_of_a_group_waits_no_longer_than_one_lock_would() {
    let db = Database::builder().lock_timeout(Some(Duration::ZERO)).open();
    let (mut one, mut other) = (db.session(), db.session());
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "b", "one").unwrap();
    let late = failed(put_all(&mut other, &["a", "b"], "other"));
    assert!(matches!(late, Error::LockTimeout { .. }), "{late}");
    one.rollback(None).unwrap();
    put_all(&mut other, &["a", "b"], "other").unwrap();
}

#[test]
fn a_group_in_a_group_is_undone_alone() {
    let db = Database::builder().open();
    let mut session = db.session();
    let outer = session.group(None, &locks(&["a", "b", "c"], &[]), |session| {
        put(session, "a", "1")?;
        let inner = session.group(None, &GroupLocks::default(), |session| {
            put(session, "b", "1")?;
            put(session, "", "1")
        });
        assert!(matches!(failed(inner), Error::EmptyKey));
        put(session, "c", "1")
    });
    outer.unwrap();
    assert_eq!(get(&mut session, "b"), None);
    assert_eq!(get(&mut session, "c").as_deref(), Some("1"));
    assert_eq!(db.revision().0, 1);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn a_group_of_reads_sees_one_state_and_waits_for_nobody() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    put_all(&mut one, &["a", "b"], "0").unwrap();
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "b", "1").unwrap();
    let seen = other.read_group(None, |session, txn| {
        let a = session.get(txn, b"a")?;
        // Somebody commits between the two.
        if one.has_open_transactions() {
            one.commit(None)?;
        }
        Ok((a, session.get(txn, b"b")?))
    });
    let (a, b) = seen.unwrap();
    assert_eq!((&*a.unwrap(), &*b.unwrap()), (&b"0"[..], &b"0"[..]));
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn what_is_watched_changes_with_every_write_and_only_then() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    let unchanged = |session: &mut Session, watch| {
        let locks = locks(&[], &["k"]);
        session.group(None, &locks, |session| session.is_as_watched(b"k", watch)).unwrap()
    };
    let missing = one.watch(None, b"k").unwrap();
    assert!(unchanged(&mut one, &missing));
    put(&mut other, "k", "1").unwrap();
    assert!(!unchanged(&mut one, &missing));
    other.delete(None, b"k", None).unwrap();
    assert!(!unchanged(&mut one, &missing), "it has been there meanwhile");
    put(&mut other, "k", "1").unwrap();
    let there = one.watch(None, b"k").unwrap();
    assert!(unchanged(&mut one, &there));
    put(&mut one, "k", "1").unwrap();
    assert!(!unchanged(&mut one, &there), "also by this client, and also to the same value");

    one.begin(BeginOptions::default()).unwrap();
    let there = one.watch(None, b"k").unwrap();
    assert!(unchanged(&mut one, &there));
    put(&mut one, "k", "2").unwrap();
    assert!(!unchanged(&mut one, &there));
    let own = one.watch(None, b"k").unwrap();
    assert!(unchanged(&mut one, &own));
    put(&mut one, "k", "2").unwrap();
    assert!(!unchanged(&mut one, &own));
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn a_modification_decides_by_what_is_there() {
    let db = Database::builder().value_bytes_max(4).open();
    let mut session = db.session();
    let append = |session: &mut Session, more: &[u8], bytes_max| {
        session.modify(None, b"k", bytes_max, |there: Option<Datum<'_>>| {
            let mut value = there.map_or_else(Vec::new, |there| there.bytes.to_vec());
            value.extend_from_slice(more);
            Ok(Update::Put { value, kind: ValueKind::Text, expires_ms: None })
        })
    };
    append(&mut session, b"ab", Some(2)).unwrap();
    append(&mut session, b"cd", None).unwrap();
    let too_big = failed(append(&mut session, b"e", None));
    assert!(matches!(too_big, Error::TooBig { bytes: 5, .. }), "{too_big}");
    assert_eq!(get(&mut session, "k").as_deref(), Some("abcd"));
    for (update, version) in [(Update::Keep, 2), (Update::Delete, 3), (Update::Delete, 3)] {
        session.modify(None, b"k", Some(0), |_| Ok(update.clone())).unwrap();
        let newest = session.history(b"k", Some(1)).unwrap();
        assert_eq!(newest[0].version, Version(version));
    }
    session.begin(BeginOptions::default()).unwrap();
    append(&mut session, b"x", None).unwrap();
    append(&mut session, b"y", None).unwrap();
    session.commit(None).unwrap();
    assert_eq!(get(&mut session, "k").as_deref(), Some("xy"));
}

#[test]
fn a_random_key_is_one_that_is_there() {
    let db = Database::builder().shards(4).open();
    assert_eq!(db.random_key(7), None);
    let mut session = db.session();
    for key in ["a", "b", "c", "d"] {
        put(&mut session, key, "1").unwrap();
    }
    session.delete(None, b"b", None).unwrap();
    let seen: std::collections::BTreeSet<_> = (0..100).map(|bits| db.random_key(bits)).collect();
    let there = [&b"a"[..], b"c", b"d"].map(|key| Some(key.to_vec()));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), there);
}

#[test]
fn a_group_that_deletes_all_is_one_commit_and_begins_anew_after_a_pause() {
    let db = Database::builder().shards(3).open();
    let (mut one, mut other) = (db.session(), db.session());
    put_all(&mut one, &["a", "b", "c"], "old").unwrap();
    let watched = one.watch(None, b"a").unwrap();
    other.begin(BeginOptions::default()).unwrap();
    assert_eq!(get(&mut other, "c").as_deref(), Some("old"));
    let before = db.revision().0;
    let locks = GroupLocks { all: true, ..locks(&["a", "b"], &[]) };
    let mut has_yielded = false;
    let mut body = |session: &mut Session| {
        assert!(session.is_as_watched(b"a", &watched)?);
        put(session, "a", "lost")?;
        session.delete_all(None)?;
        assert!(!session.exists(None, b"a")? && !session.is_as_watched(b"a", &watched)?);
        put(session, "b", "new")?;
        if !std::mem::replace(&mut has_yielded, true) {
            return Err(Pause::Yield);
        }
        Ok(())
    };
    waits(one.group(None, &locks, &mut body));
    other.commit(None).unwrap();
    assert!(matches!(one.group(None, &locks, &mut body), Err(Pause::Yield)));
    waits(put(&mut other, "d", "while it goes on"));
    one.group(None, &locks, &mut body).unwrap();
    assert_eq!(db.revision().0, before + 1);
    assert_eq!([get(&mut one, "a"), get(&mut one, "b")], [None, Some("new".into())]);
    run(&mut other, |other| put(other, "d", "then")).unwrap();
    // In a transaction it is nested, and one that fails has done nothing.
    one.begin(BeginOptions::default()).unwrap();
    put(&mut one, "e", "own").unwrap();
    let fails = |session: &mut Session| {
        session.delete_all(None)?;
        put(session, "", "")
    };
    failed(one.group(None, &locks, fails));
    assert_eq!(get(&mut one, "e").as_deref(), Some("own"));
    put(&mut other, "d", "it is free").unwrap();
    one.group(None, &locks, |session| session.delete_all(None)).unwrap();
    assert_eq!(get(&mut one, "e"), None);
    one.commit(None).unwrap();
    assert_eq!(db.stats().keys, 0);
    drop((one, other));
    db.check_idle().unwrap();
}
