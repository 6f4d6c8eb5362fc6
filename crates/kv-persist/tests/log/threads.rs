//! The writer's thread, with many that commit at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::{CommitLog, CommitSize, Pause, Payload, Revision};
use kv_persist::log::{Durability, Log};
use parking_lot::Mutex;

use crate::support::{Place, commit, read_back};

/// Commits from a thread, and waits until it is durable. The mutex stands for the engine's critical
/// section.
fn commit_and_wait(log: &Log, order: &Mutex<()>) -> u64 {
    let revision = loop {
        let guard = order.lock();
        match commit(log) {
            Ok(revision) => break revision,
            Err(Pause::Room(room)) => {
                drop(guard);
                room.block().expect("the log works");
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    log.durable().reached(revision).block().expect("durable");
    revision
}

#[test]
fn many_threads_share_syncs_and_all_is_there() {
    let mut place = Place::new();
    place.options.segment_bytes = 20 << 10;
    let log = place.open();
    let writer = log.spawn_writer().expect("a thread");
    let order = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let revision = commit_and_wait(&log, &order);
                    assert!(log.synced().get() >= revision);
                }
            });
        }
    });
    let stats = log.stats();
    assert_eq!((stats.last, stats.records), (Revision(800), 800));
    assert!(stats.syncs < 800, "no two commits shared any of {} syncs", stats.syncs);
    writer.stop();
    assert_eq!(read_back(&log, 0), 800);
    drop(log);
    assert_eq!(place.last(), 800);
}

#[test]
fn stopping_writes_the_rest() {
    for durability in [Durability::Fsync, Durability::Interval, Durability::None] {
        let mut place = Place::new();
        place.options.durability = durability;
        let log = place.open();
        let writer = log.spawn_writer().expect("a thread");
        let order = Mutex::new(());
        for _ in 0..50 {
            commit_and_wait(&log, &order);
        }
        writer.stop();
        assert_eq!((log.synced().get(), log.failure()), (50, None));
        assert_eq!(read_back(&log, 0), 50);
    }
}

#[test]
fn with_an_interval_commits_are_written_together_and_synced_within_about_a_second() {
    let mut place = Place::new();
    place.options.durability = Durability::Interval;
    place.options.allocate_bytes = 1 << 20;
    let log = place.open();
    let _writer = log.spawn_writer().expect("a thread");
    let order = Mutex::new(());
    let began = Instant::now();
    for _ in 0..500 {
        commit_and_wait(&log, &order);
    }
    let committed_in = began.elapsed();
    log.synced().reached(500).block().expect("synced");
    assert!(began.elapsed() < committed_in + Duration::from_secs(5));
    let stats = log.stats();
    assert!(stats.batches < 250, "{} batches for 500 commits", stats.batches);
    assert!(stats.syncs <= 10);
}

#[test]
fn a_thread_that_waits_for_room_is_woken_by_the_writer() {
    let mut place = Place::new();
    place.options.allocate_bytes = 1 << 10;
    let log = place.open();
    let _writer = log.spawn_writer().expect("a thread");
    let size = CommitSize { changes: 1, bytes: 5 << 20 };
    let mut waited = 0;
    let reserved = loop {
        match log.reserve(size) {
            Ok(reserved) => break reserved,
            Err(Pause::Room(room)) => {
                waited += 1;
                room.block().expect("the log works");
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!(waited > 0 && reserved >= 5 << 20);
    log.release(reserved);
}

#[test]
fn writers_at_the_bound_go_on_as_the_log_is_freed() {
    let mut place = Place::new();
    place.options.log_bytes_max = 4000;
    let log = place.open();
    let _writer = log.spawn_writer().expect("a thread");
    let order = Mutex::new(());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| (0..60).for_each(|_| assert!(commit_and_wait(&log, &order) > 0)))
            })
            .collect();
        let checkpoint = Arc::clone(&log);
        scope.spawn(move || {
            let mut reader = checkpoint.reader(Revision(0));
            while reader.after() < Revision(360) {
                let through = Revision(checkpoint.synced().get());
                let mut bytes = 0;
                let read = reader.read(through, 500, &mut |record| {
                    bytes += record.log_bytes;
                    Ok(())
                });
                read.expect("readable");
                assert!(checkpoint.stats().held_bytes < 4000 + 1000);
                checkpoint.free(bytes);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for writer in writers {
            writer.join().expect("no panic");
        }
    });
    assert_eq!(log.synced().get(), 360);
}

#[test]
#[should_panic(expected = "in their order")]
fn a_commit_out_of_order_is_a_mistake_of_the_engine() {
    let place = Place::new();
    let log = place.open();
    let reserved = log.reserve(CommitSize { changes: 1, bytes: 10 }).expect("space");
    let mut payload = Payload::from_slice(b"x");
    log.append(crate::support::stamp(2), &mut payload, reserved);
}
