//! That the simulated file system forgets what it may forget, and nothing else.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use kv_persist::fs::{Access, File, FileSystem as _};

use super::{Fault, Operation, Restart, SimFs};

const DIRECTORY: &str = "/data";

/// How many seeds are tried where chance decides.
const SEEDS: u64 = 200;

fn system(seed: u64) -> SimFs {
    SimFs::new(seed, &[Path::new(DIRECTORY)])
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn synced(system: &SimFs, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = system.create(&path(name)).unwrap();
    file.write_full(bytes, 0).unwrap();
    file.sync_data().unwrap();
    system.sync_dir(Path::new(DIRECTORY)).unwrap();
    file
}

fn content(system: &SimFs, name: &str) -> Option<Vec<u8>> {
    system.contents().remove(&path(name))
}

/// Everything that restarts of one kind make of the same deeds.
fn outcomes(how: Restart, deeds: impl Fn(&SimFs)) -> BTreeSet<Option<Vec<u8>>> {
    let outcome = |seed| {
        let system = system(seed);
        deeds(&system);
        system.restart(how);
        content(&system, "a")
    };
    (0..SEEDS).map(outcome).collect()
}

#[test]
fn a_synced_file_stays_whatever_happens() {
    for how in Restart::ALL {
        let found = outcomes(how, |system| drop(synced(system, "a", b"one")));
        assert_eq!(found, BTreeSet::from([Some(b"one".to_vec())]), "{how:?}");
    }
}

#[test]
fn a_write_without_sync_may_vanish() {
    let deeds = |system: &SimFs| {
        let file = synced(system, "a", b"one");
        file.write_full(b"two!", 0).unwrap();
    };
    let before = Some(b"one".to_vec());
    let after = Some(b"two!".to_vec());
    assert_eq!(outcomes(Restart::Killed, deeds), BTreeSet::from([after.clone()]));
    assert_eq!(outcomes(Restart::Kept, deeds), BTreeSet::from([after.clone()]));
    assert_eq!(outcomes(Restart::Lost, deeds), BTreeSet::from([before.clone()]));
    // The bytes without the length, the length without the bytes.
    let halves = [Some(b"two".to_vec()), Some(b"one\0".to_vec())];
    let reordered = outcomes(Restart::Reordered, deeds);
    let all = BTreeSet::from_iter([before.clone(), after.clone()].into_iter().chain(halves));
    assert_eq!(reordered, all);
    let torn = outcomes(Restart::Torn, deeds);
    assert!(
        torn.is_superset(&BTreeSet::from([before, after, Some(b"two\0".to_vec())])),
        "{torn:?}"
    );
}

#[test]
fn sectors_are_kept_or_lost_each_on_its_own() {
    let deeds = |system: &SimFs| {
        let file = synced(system, "a", &[b'.'; 1536]);
        file.write_full(&[b'x'; 1536], 0).unwrap();
    };
    let found = outcomes(Restart::Reordered, deeds);
    let sectors = |file: &Option<Vec<u8>>| -> Vec<u8> {
        let file = file.as_ref().unwrap();
        assert!(file.chunks(512).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
        file.chunks(512).map(|sector| sector[0]).collect()
    };
    let found: BTreeSet<Vec<u8>> = found.iter().map(sectors).collect();
    assert_eq!(found.len(), 8, "every combination: {found:?}");
}

#[test]
fn a_sector_is_never_later_in_one_half_than_in_the_other() {
    let deeds = |system: &SimFs| {
        let file = synced(system, "a", b"....");
        file.write_full(b"xx", 0).unwrap();
        file.write_full(b"yy", 2).unwrap();
    };
    let found = outcomes(Restart::Reordered, deeds);
    let names = [b"....", b"xx..", b"xxyy"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(found, BTreeSet::from(names));
}

#[test]
fn a_created_file_may_vanish_with_its_content() {
    let deeds = |system: &SimFs| {
        let file = system.create(&path("a")).unwrap();
        file.write_full(b"one", 0).unwrap();
        file.sync_data().unwrap();
    };
    assert_eq!(outcomes(Restart::Lost, deeds), BTreeSet::from([None]));
    let both = BTreeSet::from([None, Some(b"one".to_vec())]);
    assert_eq!(outcomes(Restart::Reordered, deeds), both);
    assert_eq!(outcomes(Restart::Kept, deeds), BTreeSet::from([Some(b"one".to_vec())]));
}

#[test]
fn a_name_may_survive_without_its_content() {
    let deeds = |system: &SimFs| {
        let file = system.create(&path("a")).unwrap();
        file.write_full(b"one", 0).unwrap();
        system.sync_dir(Path::new(DIRECTORY)).unwrap();
    };
    assert_eq!(outcomes(Restart::Lost, deeds), BTreeSet::from([Some(Vec::new())]));
}

#[test]
fn a_rename_is_all_or_nothing_and_durable_with_its_directory() {
    let rename = |system: &SimFs| {
        drop(synced(system, "a", b"old"));
        drop(synced(system, "new", b"new"));
        system.rename(&path("new"), &path("a")).unwrap();
    };
    let both = BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]);
    assert_eq!(outcomes(Restart::Reordered, rename), both);
    let found = outcomes(Restart::Lost, |system| {
        rename(system);
        system.sync_dir(Path::new(DIRECTORY)).unwrap();
    });
    assert_eq!(found, BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn a_removed_file_may_come_back() {
    let deeds = |system: &SimFs| {
        drop(synced(system, "a", b"one"));
        system.remove(&path("a")).unwrap();
    };
    let found = outcomes(Restart::Reordered, deeds);
    assert_eq!(found, BTreeSet::from([None, Some(b"one".to_vec())]));
    assert_eq!(outcomes(Restart::Killed, deeds), BTreeSet::from([None]));
}

#[test]
fn what_a_kill_leaves_a_power_cut_may_still_take() {
    let found = outcomes(Restart::Lost, |system| {
        let file = synced(system, "a", b"one");
        file.write_full(b"two", 0).unwrap();
        system.restart(Restart::Killed);
        assert_eq!(content(system, "a"), Some(b"two".to_vec()));
        assert!(file.sync_data().is_err(), "a file of a process that is gone");
    });
    assert_eq!(found, BTreeSet::from([Some(b"one".to_vec())]));
}

#[test]
fn a_cut_may_be_undone_and_what_it_cut_does_not_return_with_the_length() {
    let found = outcomes(Restart::Reordered, |system| {
        let file = synced(system, "a", b"one");
        file.set_len(1).unwrap();
        file.set_len(3).unwrap();
    });
    // Neither, the first, both; the second alone changes nothing.
    let all = [&b"one"[..], b"o", b"o\0\0"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(found, BTreeSet::from(all));
}

#[test]
fn what_a_failed_sync_did_not_bring_no_later_sync_brings() {
    let found = outcomes(Restart::Lost, |system| {
        let file = synced(system, "a", b"one");
        file.write_full(b"two", 0).unwrap();
        system.fault_at(0, Fault::Refused(Operation::Sync, io::ErrorKind::Other));
        assert!(file.sync_data().is_err());
        assert_eq!(content(system, "a"), Some(b"two".to_vec()), "reads still see it");
        file.sync_data().unwrap();
    });
    assert_eq!(found, BTreeSet::from([Some(b"one".to_vec()), Some(b"two".to_vec())]));
    let found = outcomes(Restart::Lost, |system| {
        drop(system.create(&path("a")).unwrap());
        system.fault_at(0, Fault::Refused(Operation::SyncDir, io::ErrorKind::Other));
        assert!(system.sync_dir(Path::new(DIRECTORY)).is_err());
        system.sync_dir(Path::new(DIRECTORY)).unwrap();
    });
    assert_eq!(found, BTreeSet::from([Some(Vec::new())]), "names are journalled");
}

#[test]
fn a_full_disk_takes_what_it_can() {
    let system = system(1);
    let file = system.create(&path("a")).unwrap();
    system.set_capacity(Some(10));
    assert_eq!(file.write_at(&[1; 8], 0).unwrap(), 8);
    assert_eq!(file.write_at(&[2; 8], 8).unwrap(), 2);
    let full = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
    assert!(full(file.write_at(&[2; 8], 10).map(drop)));
    assert!(full(file.allocate(11)));
    file.write_full(&[3; 10], 0).unwrap();
    system.set_capacity(Some(11));
    file.allocate(11).unwrap();
    assert_eq!(content(&system, "a").unwrap(), [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0]);
    assert_eq!(system.used_bytes(), 11);
    system.set_capacity(None);
    system.fault_at(0, Fault::Full(2));
    assert_eq!(file.write_at(&[1; 8], 11).unwrap(), 2);
    assert!(full(file.write_at(&[1; 8], 13).map(drop)));
}

#[test]
fn faults_come_once_and_at_their_time() {
    let system = system(1);
    let file = synced(&system, "a", b"one");
    let refused = |operation| Fault::Refused(operation, io::ErrorKind::Other);
    let next = system.ios() + 1;
    system.fault_at(next + 1, refused(Operation::Write));
    system.fault_at(next + 1, Fault::ShortWrite(2));
    system.fault_at(next + 1, Fault::LyingWrite);
    system.fault_at(next + 5, refused(Operation::Read));
    file.write_full(b"two", 0).unwrap();
    assert!(file.write_full(b"thr", 0).is_err());
    assert_eq!(file.write_at(b"four", 0).unwrap(), 2);
    assert_eq!(content(&system, "a"), Some(b"two".to_vec()), "a short write that lies as well");
    file.write_full(b"five", 0).unwrap();
    assert_eq!(content(&system, "a"), Some(b"five".to_vec()));
    file.sync_data().unwrap();
    assert_eq!(file.read_at(&mut [0; 8], 0).unwrap(), 4);
    file.sync_data().unwrap();
    assert_eq!(system.faults_left(), 1);
    assert!(file.read_at(&mut [0; 8], 0).is_err());
    assert_eq!(file.read_at(&mut [0; 8], 0).unwrap(), 4);
    assert_eq!(system.faults_left(), 0);
}

#[test]
fn at_the_chosen_io_it_goes_down_and_stays_down() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let system = system(seed);
        let file = synced(&system, "a", b"");
        system.crash_at(system.ios() + 1);
        assert!(file.write_full(b"four", 0).is_err());
        assert!(system.is_down());
        assert!(file.sync_data().is_err() && file.read_at(&mut [0], 0).is_err());
        assert!(system.open(&path("a"), Access::Read).is_err());
        assert!(system.list(Path::new(DIRECTORY)).is_err());
        system.restart(Restart::Killed);
        found.insert(content(&system, "a").unwrap());
        assert!(system.open(&path("a"), Access::Read).is_ok());
    }
    let all = ["", "f", "fo", "fou", "four"].map(|text| text.as_bytes().to_vec());
    assert_eq!(found, BTreeSet::from(all));
}

#[test]
fn the_same_seed_gives_the_same_state() {
    for how in Restart::ALL {
        let run = |seed| {
            let system = system(seed);
            for name in ["a", "b", "c"] {
                let file = system.create(&path(name)).unwrap();
                file.write_full(&[7; 4000], 0).unwrap();
            }
            system.restart(how);
            system.contents()
        };
        assert_eq!(run(5), run(5), "{how:?}");
        let forks = [9, 9].map(|seed| {
            let system = system(1);
            drop(system.create(&path("a")).unwrap());
            let fork = system.fork(seed);
            fork.restart(how);
            assert!(content(&system, "a").is_some(), "a fork goes its own way");
            fork.contents()
        });
        assert_eq!(forks[0], forks[1], "{how:?}");
    }
}

#[test]
fn an_open_file_knows_whether_its_name_still_leads_to_it() {
    let system = system(1);
    let file = synced(&system, "a", b"one");
    assert!(file.is_at(&path("a")) && !file.is_at(&path("b")));
    system.rename(&path("a"), &path("b")).unwrap();
    assert!(!file.is_at(&path("a")) && file.is_at(&path("b")));
    system.remove(&path("b")).unwrap();
    assert!(!file.is_at(&path("b")));
    assert!(system.create(&path("a")).is_ok() && !file.is_at(&path("a")));
    assert!(system.create(&path("a")).is_err(), "it exists");
    let read_only = system.open(&path("a"), Access::Read).unwrap();
    assert!(read_only.write_at(b"x", 0).is_err() && read_only.set_len(1).is_err());
}
