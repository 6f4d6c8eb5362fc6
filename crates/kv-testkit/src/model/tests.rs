//! The model against a few cases worked out by hand; the scripts test the rest of it, through the
//! naive engine in `tests/`.

use super::*;

const C: u32 = 1;

fn get(model: &Model, id: Option<u64>, key: &str) -> Option<String> {
    let value = model.get(C, id, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

fn put(model: &mut Model, id: Option<u64>, key: &str, value: &str) {
    model.put(C, id, key.as_bytes(), value.as_bytes(), Condition::Always).unwrap();
}

#[test]
fn versions_and_revisions_count_changes_only() {
    let mut model = Model::default();
    put(&mut model, None, "k", "a");
    assert_eq!(model.delete(C, None, b"k", Condition::Always), Ok(true));
    assert_eq!(model.delete(C, None, b"k", Condition::Always), Ok(false));
    put(&mut model, None, "k", "b");
    assert_eq!(model.revision(), 3);
    let history = model.history(b"k");
    assert_eq!(history.iter().map(|version| version.version).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(history[1].value, None);
    assert_eq!(model.get_version(b"k", 1), Some(b"a".to_vec()));
    assert_eq!(model.get_at(b"k", 2), Ok(None));
    assert_eq!(model.get_at(b"k", 4), Err(Refusal::Argument));

    let id = model.begin(C, Place::Root, None, None).unwrap();
    put(&mut model, None, "new", "x");
    model.delete(C, None, b"new", Condition::Always).unwrap();
    model.commit(C, Some(id)).unwrap();
    assert_eq!((model.revision(), model.history(b"new").len()), (3, 0));
}

#[test]
fn a_child_hands_over_or_vanishes() {
    let mut model = Model::default();
    put(&mut model, None, "k", "0");
    let root = model.begin(C, Place::Root, None, None).unwrap();
    put(&mut model, None, "k", "1");
    let child = model.begin(C, Place::Current, None, None).unwrap();
    put(&mut model, None, "k", "2");
    assert_eq!(model.get(C, Some(root), b"k"), Err(Refusal::Busy));
    model.rollback(C, Some(child)).unwrap();
    assert_eq!(get(&model, None, "k").as_deref(), Some("1"));
    model.begin(C, Place::Inside(root), None, None).unwrap();
    put(&mut model, None, "k", "3");
    assert_eq!(model.show_all(C)[0].2, Some(3));
    model.commit(C, None).unwrap();
    assert_eq!(model.show_all(C)[0].2, Some(1));
    assert_eq!(get(&model, None, "k").as_deref(), Some("3"));
    assert_eq!(model.get(2, None, b"k"), Ok(Some(b"0".to_vec())));
    assert_eq!(model.commit_all(C), (1, vec![]));
    assert_eq!(model.get(2, None, b"k"), Ok(Some(b"3".to_vec())));
    assert_eq!(model.history(b"k").len(), 2);
}

#[test]
fn a_snapshot_reads_its_view_and_the_first_updater_wins() {
    let mut model = Model::default();
    put(&mut model, None, "k", "0");
    let id = model.begin(C, Place::Root, Some(Isolation::Snapshot), None).unwrap();
    model.put(2, None, b"k", b"1", Condition::Always).unwrap();
    assert_eq!(get(&model, None, "k").as_deref(), Some("0"));
    assert_eq!(model.increment(C, None, b"k", 1), Err(Refusal::Conflict));
    assert_eq!(model.get(C, None, b"k"), Err(Refusal::Aborted));
    assert_eq!(model.commit(C, Some(id)), Err(Refusal::Aborted));
    assert_eq!(model.commit_all(C), (0, vec![id]));
    model.rollback(C, None).unwrap();
    assert_eq!(get(&model, None, "k").as_deref(), Some("1"));
}

#[test]
fn conditions_see_the_version_that_an_own_write_will_get() {
    let mut model = Model::default();
    put(&mut model, None, "k", "0");
    model.begin(C, Place::Root, None, None).unwrap();
    put(&mut model, None, "k", "1");
    let refused = model.put(C, None, b"k", b"2", Condition::Version(1));
    assert_eq!(refused, Err(Refusal::Precondition(2)));
    assert_eq!(model.delete(C, None, b"k", Condition::Version(2)), Ok(true));
    assert_eq!(model.put(C, None, b"k", b"3", Condition::Absent), Ok(()));
    let meta = model.meta(C, None, b"k").unwrap().unwrap();
    assert_eq!(meta, Meta { version: 2, revision: None, bytes: 1, ttl_ms: None });
}

#[test]
fn scans_merge_own_writes_and_keep_their_bounds() {
    let mut model = Model::default();
    for key in ["a", "b", "c", "d"] {
        put(&mut model, None, key, "0");
    }
    model.begin(C, Place::Root, None, None).unwrap();
    put(&mut model, None, "bb", "1");
    model.delete(C, None, b"c", Condition::Always).unwrap();
    let scan = |model: &Model, interval: Interval| -> Vec<String> {
        let pairs = model.scan(C, None, &interval).unwrap();
        pairs.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    };
    assert_eq!(scan(&model, Interval::default()), ["a", "b", "bb", "d"]);
    assert_eq!(scan(&model, Interval::prefix(b"b")), ["b", "bb"]);
    let after = Interval { after: Some(b"b".to_vec()), limit: Some(1), ..Interval::default() };
    assert_eq!(scan(&model, after), ["bb"]);
    assert_eq!(Interval::prefix(&[7, 255, 255]).to, Some(vec![8]));
    assert_eq!(Interval::prefix(&[255]).to, None);
}

#[test]
fn what_expires_is_judged_by_each_at_its_time() {
    let mut model = Model::default();
    model.put_expiring(C, None, b"k", b"1", 10).unwrap();
    let view = model.begin(2, Place::Root, Some(Isolation::Snapshot), None).unwrap();
    let locks = model.begin(3, Place::Root, None, None).unwrap();
    model.judge(3, Some(locks), only(b"k"));
    model.advance(10);
    assert_eq!(get(&model, None, "k"), None);
    assert_eq!(model.get_at(b"k", 1), Ok(Some(b"1".to_vec())));
    assert_eq!(model.get_version(b"k", 1), Some(b"1".to_vec()));
    assert_eq!(model.get(2, Some(view), b"k"), Ok(Some(b"1".to_vec())));
    assert_eq!(model.get(3, Some(locks), b"k"), Ok(Some(b"1".to_vec())));
    assert_eq!(model.increment(3, Some(locks), b"k", 1), Ok(2));
    assert_eq!(model.commit(3, Some(locks)), Ok(()));
    assert_eq!(get(&model, None, "k"), None, "the sum has kept its time");
    assert_eq!(model.delete(C, None, b"k", Condition::Always), Ok(false));
    put(&mut model, None, "k", "3");
    assert_eq!(model.history(b"k").len(), 3);
    assert_eq!(model.expire(C, None, b"k", Some(5)), Ok(true));
    assert_eq!(model.meta(C, None, b"k").unwrap().unwrap().ttl_ms, Some(5));
}

fn keys(model: &Model, conditions: &Conditions) -> Vec<String> {
    let pairs = model.select(C, None, &Interval::default(), conditions).unwrap();
    pairs.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn conditions_hold_as_they_would_be_explained() {
    let mut model = Model::default();
    for (key, value) in [("a1", "7"), ("a2", "-0.5"), ("b1", "x7"), ("bé", "1e1"), ("c", "")] {
        put(&mut model, None, key, value);
    }
    let key = |pattern: Pattern| Conditions { key: Some(pattern), value: None };
    let value = |condition: ValueCondition| Conditions { key: None, value: Some(condition) };
    let glob = |text: &str| Pattern::Glob(text.into());
    let regex = |text: &str| Pattern::Regex(text.into());
    for (conditions, found) in [
        (key(glob("a*")), &["a1", "a2"][..]),
        (key(glob("?[1-2]")), &["a1", "a2", "b1"]),
        (key(glob("[!a]?")), &["b1", "bé"]),
        (key(glob("*\\1")), &["a1", "b1"]),
        (key(regex("1")), &["a1", "b1"]),
        (key(regex("^.$")), &["c"]),
        (key(regex("^a?b+[^1]*$")), &["bé"]),
        (value(ValueCondition::Equal("".into())), &["c"]),
        (value(ValueCondition::Matches(glob("*7"))), &["a1", "b1"]),
        (value(ValueCondition::Range("-".into(), "7".into())), &["a2", "bé"]),
        (value(ValueCondition::Number("-0.50".into(), "+9.9".into())), &["a1", "a2"]),
        (value(ValueCondition::Number("10".into(), "100e-1".into())), &["bé"]),
    ] {
        assert_eq!(keys(&model, &conditions), found, "{conditions:?}");
    }
    for wrong in [
        key(glob("[")),
        value(ValueCondition::Matches(regex("("))),
        value(ValueCondition::Number("1".into(), "0".into())),
        value(ValueCondition::Number("1".into(), "one".into())),
    ] {
        let refused = model.select(C, None, &Interval::default(), &wrong);
        assert_eq!(refused, Err(Refusal::Argument), "{wrong:?}");
    }
    let nearest = model.nearest(C, None, "3.25", 2, &Interval::default()).unwrap();
    assert_eq!(nearest.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"a1", b"a2"]);
}

#[test]
fn what_is_examined_begins_with_the_literal_prefix() {
    let examined = |pattern: Pattern| {
        let all = Interval { from: b"aa".to_vec(), to: Some(b"b".to_vec()), ..Interval::default() };
        let examined = Conditions { key: Some(pattern), value: None }.examined(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(examined.from), text(examined.to.unwrap()))
    };
    for (pattern, from, to) in [
        (Pattern::Glob("ab\\*c*".into()), "ab*c", "ab*d"),
        (Pattern::Glob("*ab".into()), "aa", "b"),
        (Pattern::Glob("b".into()), "b", "b"),
        (Pattern::Regex("^abc?".into()), "ab", "ac"),
        (Pattern::Regex("^ab+c".into()), "ab", "ac"),
        (Pattern::Regex("ab".into()), "aa", "b"),
    ] {
        assert_eq!(examined(pattern.clone()), (from.into(), to.into()), "{pattern:?}");
    }
}
