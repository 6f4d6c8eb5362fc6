//! Closures in transactions: commit, rollback, retry, nesting; blocking and async.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use kv_core::{BeginOptions, Database, Error, Interval, Isolation, Number, ScanOptions};

fn number(db: &Database, key: &[u8]) -> i64 {
    let value = db.get(key).unwrap();
    value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
}

/// Runs a future on this thread, parking it in between.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn ok_commits_and_err_rolls_back() {
    let db = Database::builder().open();
    db.update(|txn| txn.put(b"k", b"1")).unwrap();
    let failed: Result<(), Error> = db.update(|txn| {
        txn.put(b"k", b"2")?;
        txn.put(b"other", b"2")?;
        Err(Error::EmptyKey)
    });
    assert_eq!(failed, Err(Error::EmptyKey));
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(db.get(b"other").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn a_panic_rolls_back_and_the_store_lives() {
    let db = Database::builder().open();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        db.update(|txn| -> Result<(), Error> {
            txn.put(b"k", b"1")?;
            panic!("in the closure");
        })
    }));
    assert!(panicked.is_err());
    assert!(db.get(b"k").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn contended_counters_lose_nothing() {
    const THREADS: i64 = 4;
    const EACH: i64 = 300;
    let db = Database::builder().open();
    let runs = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    // Reads without FOR UPDATE first: two of these deadlock, and one runs again.
                    db.update(|txn| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        txn.get(b"a")?;
                        txn.add(b"a", 1)?;
                        txn.add(b"b", -1)
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!((number(&db, b"a"), number(&db, b"b")), (THREADS * EACH, -THREADS * EACH));
    assert!(i64::from(runs.into_inner()) >= THREADS * EACH);
    db.check_idle().unwrap();
}

#[test]
fn a_nested_failure_undoes_only_itself() {
    let db = Database::builder().open();
    db.update(|txn| {
        txn.put(b"outer", b"1")?;
        let inner: Result<(), Error> = txn.nested(|txn| {
            txn.put(b"outer", b"2")?;
            txn.put(b"inner", b"2")?;
            Err(Error::EmptyKey)
        });
        assert_eq!(inner, Err(Error::EmptyKey));
        txn.nested(|txn| txn.put(b"kept", b"3"))?;
        assert_eq!(txn.get(b"outer")?.as_deref(), Some(&b"1"[..]));
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(db.get(b"kept").unwrap().as_deref(), Some(&b"3"[..]));
    assert!(db.get(b"inner").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn a_nested_closure_that_never_ends_well_is_rolled_back() {
    let db = Database::builder().open();
    let mut txn = db.begin(BeginOptions::default()).unwrap();
    txn.put("outer", "1").unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        txn.nested(|txn| -> Result<(), Error> {
            txn.put("inner", "1")?;
            panic!("in the nested closure");
        })
    }));
    assert!(panicked.is_err());
    txn.commit().unwrap();
    assert!(db.get("outer").unwrap().is_some() && db.get("inner").unwrap().is_none());

    // A future that is dropped midway, as a timeout does.
    let mut txn = db.begin_async(BeginOptions::default()).unwrap();
    block_on(txn.put("outer", "2")).unwrap();
    {
        let mut nested = pin!(txn.nested(async |txn| -> Result<(), Error> {
            txn.put("inner", "2").await?;
            std::future::pending().await
        }));
        let poll = nested.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
    }
    block_on(txn.commit()).unwrap();
    assert_eq!(db.get("outer").unwrap().as_deref(), Some(&b"2"[..]));
    assert!(db.get("inner").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn an_operation_that_was_given_up_leaves_no_wait_behind() {
    let db = Database::builder().lock_timeout(Some(Duration::from_secs(60))).open();
    let mut holder = db.begin(BeginOptions::default()).unwrap();
    holder.put("a", "1").unwrap();
    let mut txn = db.begin_async(BeginOptions::default()).unwrap();
    {
        let mut get = pin!(txn.get("a"));
        assert!(get.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(block_on(txn.get("b")), Ok(None));
    assert_eq!(db.stats().lock_waits, 0);
    drop(holder);
    block_on(txn.commit()).unwrap();
    db.check_idle().unwrap();
}

/// More commits than the ring has room for, behind one that is still being installed.
#[test]
fn commits_wait_for_room_behind_a_long_one() {
    let db = Database::builder().history(Some(1)).open();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                db.update(|txn| (0..20_000).try_for_each(|n| txn.put(format!("big:{n}"), "v")))
                    .unwrap();
            }
        });
        scope.spawn(|| (0..50_000).for_each(|_| _ = db.put("small", "v").unwrap()));
        let mut session = db.session();
        for _ in 0..50_000 {
            session.add(None, b"counter", 1).unwrap();
        }
    });
    assert_eq!(number(&db, b"counter"), 50_000);
    db.check_idle().unwrap();
}

#[test]
fn a_view_is_one_state_and_refuses_writes() {
    let db = Database::builder().open();
    db.put(b"k", b"1").unwrap();
    db.view(|txn| {
        assert_eq!(txn.get(b"k")?.as_deref(), Some(&b"1"[..]));
        db.put(b"k", b"2")?;
        assert_eq!(txn.get(b"k")?.as_deref(), Some(&b"1"[..]));
        assert_eq!(txn.put(b"k", b"3"), Err(Error::ReadOnly));
        Ok::<(), Error>(())
    })
    .unwrap();
    db.check_idle().unwrap();
}

#[test]
fn dropped_transactions_leave_no_trace() {
    let db = Database::builder().open();
    let mut txn = db.begin(BeginOptions::default()).unwrap();
    txn.put(b"k", b"1").unwrap();
    drop(txn);
    assert!(db.get(b"k").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn an_async_search_awaits_its_turns() {
    let db = Database::builder().open();
    for key in 0..10_000 {
        db.put(format!("{key:05}"), key.to_string()).unwrap();
    }
    let mut txn = db.begin_async(BeginOptions::default()).unwrap();
    let x = Number::parse(b"9999.5").unwrap();
    let all = Interval::all();
    let rows = block_on(txn.nearest(&x, 2, &all)).unwrap();
    assert_eq!(rows[0].key(), b"09999");
    assert_eq!(rows[1].key(), b"09998");
    let mut pauses = 0;
    let mut search = pin!(txn.nearest(&x, 2, &all));
    while search.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        pauses += 1;
    }
    assert!(pauses >= 2, "{pauses} pauses");
}

#[test]
fn scans_come_in_order_across_shards() {
    let db = Database::builder().shards(7).open();
    let keys: Vec<String> = (0..1000).map(|n| format!("key:{n:04}")).collect();
    keys.iter().for_each(|key| _ = db.put(key.as_bytes(), b"v").unwrap());
    let scan = |interval, limit| {
        let options = ScanOptions { limit, ..ScanOptions::of(interval) };
        let rows = db.view(|txn| txn.scan(&options)).unwrap();
        rows.iter().map(|row| String::from_utf8_lossy(row.key()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(scan(Interval::all(), None), keys);
    assert_eq!(scan(Interval::prefix(b"key:01"), None), keys[100..200]);
    assert_eq!(scan(Interval::range(b"key:0500", b"key:0600"), Some(7)), keys[500..507]);
    assert_eq!(scan(Interval::all().after(b"key:0998"), None), keys[999..]);
    assert!(scan(Interval::all(), Some(0)).is_empty());
}

#[test]
fn an_async_closure_waits_without_blocking() {
    let db = Database::builder().open();
    let mut holder = db.begin(BeginOptions::default()).unwrap();
    holder.put(b"k", b"1").unwrap();
    let releaser = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        holder.commit().unwrap();
    });
    let sum = block_on(db.update_async(async |txn| {
        txn.add(b"k", 1).await?;
        txn.nested(async |txn| txn.add(b"k", 1).await).await
    }));
    assert_eq!(sum, Ok(3));
    releaser.join().unwrap();
    let seen = block_on(db.view_async(async |txn| txn.get(b"k").await)).unwrap();
    assert_eq!(seen.as_deref(), Some(&b"3"[..]));
    db.check_idle().unwrap();
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let wait = Duration::from_millis(50);
    let db = Database::builder().lock_timeout(Some(wait)).open();
    let mut holder = db.begin(BeginOptions::default()).unwrap();
    holder.put(b"k", b"1").unwrap();
    let began = Instant::now();
    let blocked = db.put(b"k", b"2").unwrap_err();
    assert!(matches!(blocked, Error::LockTimeout { .. }) && blocked.is_retryable());
    assert!(began.elapsed() >= wait);
    let mut txn = db.begin_async(BeginOptions::default()).unwrap();
    let awaited = block_on(txn.put(b"k", b"3")).unwrap_err();
    assert!(matches!(awaited, Error::LockTimeout { .. }), "{awaited}");
    // The transaction goes on.
    block_on(txn.put(b"other", b"3")).unwrap();
    block_on(txn.commit()).unwrap();
    holder.rollback();
    assert!(db.get(b"k").unwrap().is_none());
    db.check_idle().unwrap();
}

#[test]
fn a_snapshot_that_loses_says_who_won() {
    let db = Database::builder().open();
    let snapshot = BeginOptions { isolation: Some(Isolation::Snapshot), ..BeginOptions::default() };
    let mut txn = db.begin(snapshot).unwrap();
    let winner = db.put(b"k", b"1").unwrap();
    let lost = txn.put(b"k", b"2").unwrap_err();
    assert!(matches!(lost, Error::Conflict { revision, .. } if revision == winner), "{lost}");
    assert!(matches!(txn.commit().unwrap_err(), Error::Aborted { .. }));
    db.check_idle().unwrap();
}

#[test]
fn what_is_too_big_or_empty_is_refused() {
    let db = Database::builder().key_bytes_max(4).value_bytes_max(4).open();
    assert_eq!(db.put(b"", b"v").unwrap_err(), Error::EmptyKey);
    assert_eq!(db.put(b"12345", b"v").unwrap_err().code(), "TOOBIG");
    assert_eq!(db.put(b"1234", b"12345").unwrap_err().code(), "TOOBIG");
    assert_eq!(db.get(b"12345").unwrap_err().code(), "TOOBIG");
    db.put(b"1234", b"1234").unwrap();
}
