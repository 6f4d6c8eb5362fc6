//! Transactions that go from session to session: their locks, their numbers, and who waits for
//! whom meanwhile.

use kv_core::{
    AbortReason, BeginOptions, Database, Detached, Error, Isolation, Name, Parent, Pause, Session,
    Step, TxnId, ValueKind,
};

use crate::driving::run;

fn begin(session: &mut Session) -> TxnId {
    session.begin(BeginOptions::default()).unwrap()
}

fn begin_in(session: &mut Session, parent: TxnId) -> TxnId {
    session.begin(BeginOptions { parent: Parent::Txn(parent), ..Default::default() }).unwrap()
}

fn put(session: &mut Session, txn: impl Into<Option<TxnId>>, key: &str) -> Step<()> {
    session.put(txn.into(), key.as_bytes(), b"new", ValueKind::Text, None)
}

fn get(session: &mut Session, txn: impl Into<Option<TxnId>>, key: &str) -> Option<String> {
    let txn = txn.into();
    let value = run(session, |session| session.get(txn, key.as_bytes())).unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn failed<T: std::fmt::Debug>(outcome: Step<T>) -> Error {
    match outcome {
        Err(Pause::Failed(error)) => *error,
        other => panic!("{other:?}"),
    }
}

fn waits<T: std::fmt::Debug>(outcome: Step<T>) -> kv_core::LockWait {
    match outcome {
        Err(Pause::Lock(wait)) => wait,
        other => panic!("{other:?}"),
    }
}

/// A transaction that has written `key`, in no session.
fn detached(db: &Database, key: &str) -> Detached {
    let mut session = db.session();
    let txn = begin(&mut session);
    put(&mut session, txn, key).unwrap();
    session.detach(None).unwrap()
}

fn attach(session: &mut Session, tree: Detached, known: &[Name]) -> Option<TxnId> {
    session.attach(tree, known, None).last().map(|name| name.txn)
}

fn owners(db: &Database) -> Vec<(u64, u64)> {
    let mut all: Vec<_> =
        db.locks().map(|lock| (lock.holder.session.0, lock.holder.txn.0)).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_transaction_outlives_its_session_and_is_committed_in_another() {
    let db = Database::builder().shards(4).open();
    let mut tree = detached(&db, "k");
    assert_eq!(db.stats().transactions_open, 1);
    assert_eq!(owners(&db), [(tree.session().0, 1)]);
    assert_eq!(tree.transactions().iter().map(|info| info.writes).collect::<Vec<_>>(), [1]);
    let mut other = db.session();
    begin(&mut other);
    assert_eq!(attach(&mut other, tree, &[]), Some(TxnId(2)));
    assert_eq!(get(&mut other, TxnId(2), "k").as_deref(), Some("new"));
    assert_eq!(other.current(), Some(TxnId(2)));
    tree = other.detach(Some(TxnId(2))).unwrap();
    assert_eq!(other.current(), Some(TxnId(1)));
    let mut third = db.session();
    attach(&mut third, tree, &[]);
    third.commit(None).unwrap();
    other.rollback(None).unwrap();
    assert_eq!(get(&mut other, None, "k").as_deref(), Some("new"));
    assert_eq!((third.last_commit().0, db.stats().transactions_open), (1, 0));
    drop((other, third));
    db.check_idle().unwrap();
}

#[test]
fn dropped_it_is_rolled_back() {
    let db = Database::builder().open();
    let tree = detached(&db, "k");
    let mut other = db.session();
    waits(put(&mut other, None, "k"));
    drop(tree);
    put(&mut other, None, "k").unwrap();
    assert_eq!((db.revision().0, db.stats().transactions_open), (1, 0));
    drop(other);
    db.check_idle().unwrap();
}

#[test]
fn each_session_has_its_own_numbers_for_it() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    let root = begin(&mut one);
    let child = begin_in(&mut one, root);
    put(&mut one, child, "k").unwrap();
    let tree = one.detach(None).unwrap();
    let known_to_one = tree.names();
    assert_eq!(known_to_one.iter().map(|name| name.txn).collect::<Vec<_>>(), [root, child]);
    begin(&mut other);
    begin(&mut other);
    assert_eq!(attach(&mut other, tree, &[]), Some(TxnId(4)));
    // The child ends, and another begins.
    other.commit(Some(TxnId(4))).unwrap();
    let next = begin_in(&mut other, TxnId(3));
    assert_eq!(next, TxnId(5));
    put(&mut other, next, "l").unwrap();
    let tree = other.detach(Some(next)).unwrap();
    let numbers: Vec<_> =
        tree.transactions().iter().map(|info| (info.txn.0, info.writes)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1)], "to others they are how deep they are");
    assert_eq!(
        attach(&mut one, tree, &known_to_one),
        Some(TxnId(3)),
        "the other child is a new one"
    );
    assert_eq!(failed(one.get(Some(child), b"k")), Error::NoTransaction(Some(child)));
    let busy = failed(one.get(Some(root), b"k"));
    assert_eq!(busy, Error::ChildOpen { parent: root, child: TxnId(3) });
    let shown: Vec<_> = one.transactions().iter().map(|i| (i.txn.0, i.parent, i.writes)).collect();
    assert_eq!(shown, [(1, None, 1), (3, Some(root), 1)]);
    one.commit(Some(root)).unwrap();
    assert_eq!(get(&mut one, None, "l").as_deref(), Some("new"));
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn ranges_go_with_it() {
    let db = Database::builder().shards(4).open();
    let mut one = db.session();
    begin(&mut one);
    run(&mut one, |session| session.scan(None, &kv_core::ScanOptions::default())).unwrap();
    let tree = one.detach(None).unwrap();
    assert!(owners(&db).iter().all(|owner| *owner == (tree.session().0, 1)));
    waits(put(&mut one, None, "k"));
    one.give_up();
    drop(tree);
    put(&mut one, None, "k").unwrap();
    drop(one);
    db.check_idle().unwrap();
}

#[test]
fn who_waits_through_it_for_his_own_transaction_is_told() {
    let db = Database::builder().open();
    let mut one = db.session();
    let own = begin(&mut one);
    put(&mut one, own, "mine").unwrap();
    let shared = attach(&mut one, detached(&db, "shared"), &[]);
    let busy = failed(put(&mut one, shared, "mine"));
    assert!(matches!(busy, Error::OwnLock { txn, .. } if txn == own), "{busy}");
    // The other way round it may wait: whoever else has the token can end that.
    let tree = one.detach(shared).unwrap();
    waits(put(&mut one, own, "shared"));
    drop((one, tree));
    db.check_idle().unwrap();
}

#[test]
fn a_cycle_through_it_and_its_client_is_a_deadlock() {
    let db = Database::builder().open();
    let (mut one, mut other) = (db.session(), db.session());
    let own = begin(&mut one);
    put(&mut one, own, "of one").unwrap();
    let theirs = begin(&mut other);
    put(&mut other, theirs, "of other").unwrap();
    // One runs a command in a shared transaction, which waits for the other …
    let shared = attach(&mut one, detached(&db, "shared"), &[]);
    waits(put(&mut one, shared, "of other"));
    // … who waits for what one has locked beside it: neither can go on.
    let deadlock = failed(put(&mut other, theirs, "of one"));
    assert!(matches!(deadlock, Error::Deadlock { .. }), "{deadlock}");
    // And so would he have by waiting for what is locked in it.
    put(&mut one, shared, "of other").unwrap();
    other.rollback(None).unwrap();
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn aborted_it_says_so_until_it_is_rolled_back() {
    let db = Database::builder().open();
    let mut tree = detached(&db, "k");
    tree.abort(AbortReason::Idle);
    assert_eq!(db.locks().count(), 0);
    let mut one = db.session();
    let txn = attach(&mut one, tree, &[]);
    let aborted = failed(one.commit(txn));
    assert!(matches!(aborted, Error::Aborted { reason: AbortReason::Idle, .. }), "{aborted}");
    let tree = one.detach(txn).unwrap();
    let names: Vec<Name> = tree.names();
    attach(&mut one, tree, &names);
    one.rollback(txn).unwrap();
    assert_eq!(db.stats().transactions_open, 0);
}

#[test]
fn a_view_goes_with_it() {
    let db = Database::builder().open();
    db.put("k", "old").unwrap();
    let mut one = db.session();
    let isolation = Some(Isolation::Snapshot);
    one.begin(BeginOptions { isolation, ..Default::default() }).unwrap();
    let tree = one.detach(None).unwrap();
    db.put("k", "newer").unwrap();
    let mut other = db.session();
    let txn = attach(&mut other, tree, &[]);
    assert_eq!(get(&mut other, txn, "k").as_deref(), Some("old"));
    assert!(matches!(failed(put(&mut other, txn, "k")), Error::Conflict { .. }));
}
