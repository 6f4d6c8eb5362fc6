//! The file as a file: created, opened, refused, copied, full.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::super::HISTORY_CONNECTIONS_MAX;
use super::*;
use crate::stored::EMPTY;

#[test]
fn what_was_folded_is_there_after_a_reopen_and_nothing_else_is() {
    let place = Place::new(Keep::All);
    let snapshot = place.create();
    assert_eq!(snapshot.through().revision, Revision(0));
    assert_eq!(load(&snapshot, 2).unwrap(), BTreeMap::new());
    drop(snapshot);
    assert_eq!(place.names(), ["kv.sqlite"]);
    let mut snapshot = place.open().unwrap();
    let versions = [version(b"a", 1, 3, Some(b"1")), version(b"b", 1, 5, None)];
    fold(&mut snapshot, &versions).unwrap();
    drop(snapshot);
    let snapshot = place.open().unwrap();
    assert_eq!(snapshot.through(), stamp(5));
    assert_eq!(snapshot.identity().database, DATABASE);
    assert_eq!(load(&snapshot, 1).unwrap().into_values().collect::<Vec<_>>(), versions);
}

#[test]
fn a_closed_file_stands_alone_and_its_history_is_still_found() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    fold(&mut snapshot, &[version(b"tree", 2, 9, Some(b"yellow"))]).unwrap();
    let history = snapshot.history().unwrap();
    assert_eq!(history.older(b"tree", ALL).unwrap().len(), 2);
    drop(snapshot);
    assert_eq!(place.names(), ["kv.sqlite"]);
    assert_eq!(history.older(b"tree", ALL).unwrap().len(), 2);
    assert_eq!(place.names(), ["kv.sqlite"]);
}

#[test]
fn only_the_owner_may_read_it() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    fold(&mut snapshot, &[version(b"a", 1, 9, Some(b"1"))]).unwrap();
    snapshot.backup(&place.dir.path().join("copy")).unwrap();
    let names = place.names();
    assert_eq!(names, ["copy", "kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"]);
    for name in names {
        let metadata = std::fs::metadata(place.dir.path().join(&name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_file_that_is_there_is_not_created_again() {
    let place = village(Keep::All);
    let before = place.bytes();
    let again = SqliteSnapshot::create(place.options.clone(), DATABASE);
    assert!(matches!(again, Err(Error::Io { .. })), "{again:?}");
    assert_eq!(place.bytes(), before);
    assert_eq!(place.names(), ["kv.sqlite"]);
}

#[test]
fn what_a_killed_creation_left_is_in_nobodys_way() {
    let place = Place::new(Keep::All);
    for name in [".kv.sqlite.unfinished", "kv.sqlite"] {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            std::fs::write(place.dir.path().join(format!("{name}{suffix}")), "half").unwrap();
        }
    }
    std::fs::remove_file(place.path()).unwrap();
    drop(place.create());
    assert_eq!(load(&place.open().unwrap(), 1).unwrap(), BTreeMap::new());
    assert_eq!(place.names(), ["kv.sqlite"]);
}

#[test]
fn a_backup_takes_nothing_away_from_others() {
    let place = village(Keep::All);
    let snapshot = place.open().unwrap();
    let named = |name: &str| place.dir.path().join(name);
    for name in ["a-new", "a", "b-wal"] {
        snapshot.backup(&named(name)).unwrap();
    }
    let is_backup = |name| SqliteSnapshot::look(&named(name)).is_ok_and(|found| found.is_backup);
    assert!(is_backup("a-new") && is_backup("a") && is_backup("b-wal"));
    let refused = snapshot.backup(&named("b"));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert!(is_backup("b-wal") && !named("b").exists());
}

#[test]
fn so_many_look_for_older_versions_at_once_and_others_wait() {
    let place = village(Keep::All);
    let snapshot = place.open().unwrap();
    let enter = || snapshot.pool.enter(&snapshot.source);
    let mut leaves: Vec<_> = (0..HISTORY_CONNECTIONS_MAX).map(|_| enter()).collect();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let history = snapshot.history().unwrap();
        scope.spawn(move || tell.send(history.older(b"house", ALL).map(|found| found.len())));
        let early = told.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "{early:?}");
        leaves.pop();
        assert_eq!(told.recv().unwrap().unwrap(), 3);
    });
    drop(leaves);
    assert_eq!(older(&snapshot, b"house", ALL).unwrap().len(), 3);
}

#[test]
fn what_a_kill_left_in_the_write_ahead_log_is_found() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let versions = [version(b"a", 1, 1, Some(b"1")), version(b"b", 1, 2, Some(&[7; 5000]))];
    fold(&mut snapshot, &versions).unwrap();
    // As they are at this moment.
    let copy = Place::new(Keep::All);
    for suffix in ["", "-wal"] {
        let to = super::super::open::beside(&copy.path(), suffix);
        std::fs::copy(super::super::open::beside(&place.path(), suffix), to).unwrap();
    }
    assert_eq!(SqliteSnapshot::look(&copy.path()).unwrap().through, stamp(2));
    let to_read = SqliteSnapshot::open_to_read(copy.options.clone()).unwrap();
    assert_eq!(load(&to_read, 2).unwrap().len(), 2);
    drop(to_read);
    let mut opened = copy.open().unwrap();
    assert_eq!(load(&opened, 2).unwrap().into_values().collect::<Vec<_>>(), versions);
    opened.adopt().unwrap();
    drop(opened);
    assert_eq!(copy.names(), ["kv.sqlite"]);
    // Without it, the file is an older one; that it lacks revisions shows by its own.
    std::fs::copy(place.path(), copy.path()).unwrap();
    assert_eq!(copy.open().unwrap().through(), EMPTY);
}

#[test]
fn what_is_opened_and_not_adopted_is_left_as_it_was() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    fold(&mut snapshot, &[version(b"tree", 2, 9, Some(b"yellow"))]).unwrap();
    let killed = Place::new(Keep::All);
    for suffix in ["", "-wal"] {
        let from = super::super::open::beside(&place.path(), suffix);
        std::fs::copy(from, super::super::open::beside(&killed.path(), suffix)).unwrap();
    }
    let mut backup = Place::new(Keep::All);
    backup.options.path = backup.dir.path().join("backup");
    snapshot.backup(&backup.path()).unwrap();
    for (place, names) in [(killed, &["kv.sqlite", "kv.sqlite-wal"][..]), (backup, &["backup"])] {
        let content = || -> Vec<Vec<u8>> {
            let paths = names.iter().map(|name| place.dir.path().join(name));
            paths.map(|path| std::fs::read(path).unwrap()).collect()
        };
        let before = content();
        let opened = place.open().unwrap();
        assert_eq!(load(&opened, 2).unwrap().len(), 3);
        assert_eq!(older(&opened, b"tree", ALL).unwrap().len(), 2);
        drop(opened);
        assert_eq!(place.names(), names);
        assert!(content() == before, "{names:?}");
        let mut opened = place.open().unwrap();
        opened.adopt().unwrap();
        drop(opened);
        assert_eq!(place.names(), names[..1]);
        assert_eq!(place.open().unwrap().through(), stamp(9));
    }
}

#[test]
fn looking_and_reading_leave_no_trace() {
    let place = village(Keep::All);
    let before = place.bytes();
    let identity = SqliteSnapshot::look(&place.path()).unwrap();
    assert_eq!((identity.through, identity.is_backup), (stamp(6), false));
    let mut snapshot = SqliteSnapshot::open_to_read(place.options.clone()).unwrap();
    assert_eq!(load(&snapshot, 2).unwrap().len(), 3);
    assert_eq!(older(&snapshot, b"house", ALL).unwrap().len(), 3);
    assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
    assert!(fold(&mut snapshot, &[version(b"a", 1, 9, None)]).is_err());
    drop(snapshot);
    assert_eq!(place.names(), ["kv.sqlite"]);
    assert_eq!(place.bytes(), before);
}

#[test]
fn a_name_with_anything_in_it_can_be_opened() {
    let mut place = Place::new(Keep::All);
    place.options.path = place.dir.path().join("a ?b=c&d#e%41ü");
    let mut snapshot = place.create();
    fold(&mut snapshot, &[version(b"a", 1, 1, Some(b"1"))]).unwrap();
    drop(snapshot);
    assert_eq!(SqliteSnapshot::look(&place.path()).unwrap().through, stamp(1));
    assert_eq!(load(&place.open().unwrap(), 1).unwrap().len(), 1);
}

#[test]
fn a_later_format_is_refused_untouched() {
    let place = village(Keep::All);
    place.change("pragma user_version = 3");
    let refused = place.refused_untouched();
    assert!(matches!(refused, Error::FromTheFuture { found: 3, known: 2, .. }), "{refused}");
}

#[test]
fn a_later_format_that_only_the_write_ahead_log_has_is_refused() {
    let place = village(Keep::All);
    let writer = place.outside();
    writer.execute_batch("pragma user_version = 3").unwrap();
    let refused = place.open().expect_err("it is refused");
    assert!(matches!(refused, Error::FromTheFuture { found: 3, known: 2, .. }), "{refused}");
}

#[test]
fn format_1_is_read_and_gets_format_2_when_it_is_adopted() {
    let place = village(Keep::Newest(3));
    to_format_1(&place);
    let before = place.bytes();
    let format = |place: &Place| -> u32 {
        place.outside().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    for snapshot in [place.open(), SqliteSnapshot::open_to_read(place.options.clone())] {
        let snapshot = snapshot.unwrap();
        assert_eq!(load(&snapshot, 1).unwrap().len(), 3);
        assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
        assert_eq!(snapshot.forgotten(), Revision(0));
        drop(snapshot);
        assert_eq!((place.bytes() == before, format(&place)), (true, 1));
    }
    let mut snapshot = place.open().unwrap();
    snapshot.adopt().unwrap();
    // Who looks at the file alone sees it too.
    assert_eq!(place.bytes()[60..64], 2_u32.to_be_bytes());
    assert_eq!(format(&place), 2);
    assert!(snapshot.meta.is_loose);
    fold(&mut snapshot, &[version(b"tree", 2, 7, Some(b"tall"))]).unwrap();
    assert!(!snapshot.meta.is_loose);
    drop(snapshot);
    let snapshot = place.open().unwrap();
    assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
    assert_eq!(load(&snapshot, 1).unwrap().len(), 3);
}

#[test]
fn a_backup_of_format_1_has_format_2() {
    let place = village(Keep::All);
    to_format_1(&place);
    let copy = place.dir.path().join("copy.sqlite");
    place.open().unwrap().backup(&copy).unwrap();
    let copy = SqliteOptions { path: copy, ..place.options.clone() };
    let copy = SqliteSnapshot::open(copy).unwrap();
    assert_eq!((copy.meta.format, copy.identity().is_backup), (2, true));
    assert_eq!(copy.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn other_files_are_refused_untouched() {
    let place = Place::new(Keep::All);
    assert!(matches!(place.open(), Err(Error::Io { .. })));
    place.change("create table other (a); insert into other values (1)");
    let refused = place.refused_untouched();
    assert!(matches!(refused, Error::Mismatch { .. }), "{refused}");
    for bytes in [&b"{\"format\": 1}"[..], &[0; 4096], b""] {
        std::fs::write(place.path(), bytes).unwrap();
        let refused = place.refused_untouched();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}

#[test]
fn what_others_put_into_the_schema_is_refused_untouched() {
    let changes = [
        "create trigger t after insert on pair begin delete from history; end",
        "create view v as select load_extension('x')",
        "create table extra (a)",
        "create index i on pair (revision)",
        "drop view pairs; create view pairs as select 1 as key, 2 as value",
        "drop table history",
        "drop table pair; create view pair as select 1 as key",
        "drop view versions; alter table meta rename to versions",
        "create virtual table f using fts5 (a)",
    ];
    for change in changes {
        let place = village(Keep::All);
        place.change(change);
        let refused = place.refused_untouched();
        assert!(matches!(refused, Error::Mismatch { .. }), "{change}: {refused}");
    }
    let place = village(Keep::All);
    place.change("analyze");
    place.change("drop view pairs");
    assert_eq!(load(&place.open().unwrap(), 1).unwrap().len(), 3);
}

#[test]
fn a_full_disk_leaves_it_as_it_was() {
    let place = village(Keep::Newest(2));
    let mut snapshot = place.open().unwrap();
    let before = load(&snapshot, 1).unwrap();
    let pages: i64 =
        snapshot.writer.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |snapshot: &SqliteSnapshot, pages: i64| {
        let set = format!("PRAGMA max_page_count = {pages}");
        snapshot.writer.query_row(&set, [], |_| Ok(())).unwrap();
    };
    limit(&snapshot, pages + 10);
    let versions: Vec<_> = (0..1000u64)
        .map(|key| version(format!("k{key}").as_bytes(), 1, 7 + key, Some(&[b'v'; 150])))
        .collect();
    for _ in 0..3 {
        let refused = fold(&mut snapshot, &versions).unwrap_err();
        assert!(refused.is_full() && !refused.is_refusal(), "{refused}");
        assert_eq!(snapshot.through(), stamp(6));
        assert_eq!(load(&snapshot, 2).unwrap(), before);
        assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
    }
    limit(&snapshot, 1 << 30);
    fold(&mut snapshot, &versions).unwrap();
    assert_eq!(load(&snapshot, 2).unwrap().len(), 1003);
}

#[test]
fn a_fold_tells_how_far_it_is() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let versions: Vec<_> = (0..2000u64)
        .map(|key| version(format!("k{key:04}").as_bytes(), 1, 1, Some(b"v")))
        .collect();
    let keys = versions.iter().map(|version| KeyChanges { versions: vec![version.borrowed()] });
    let (told, last) = (Cell::new(0), Cell::new(0));
    let progress = |done| {
        assert!(done >= last.replace(done));
        told.set(told.get() + 1);
    };
    let fold = Fold { progress: &progress, ..Fold::new(keys.collect(), stamp(1)) };
    snapshot.fold(&fold).unwrap();
    assert!(told.get() >= 4, "{}", told.get());
    assert_eq!(last.get(), 2000);
}

#[test]
fn a_backup_is_whole_compact_and_marked() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    let to = place.dir.path().join("copy.sqlite");
    snapshot.backup(&to).unwrap();
    let mut copy = Place::new(Keep::All);
    copy.options.path = to.clone();
    let identity = SqliteSnapshot::look(&to).unwrap();
    assert!(identity.is_backup);
    assert_eq!((identity.database, identity.through), (DATABASE, stamp(6)));
    fold(&mut snapshot, &[version(b"later", 1, 9, Some(b"1"))]).unwrap();
    assert_eq!(place.names(), ["copy.sqlite", "kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"]);
    let mut copied = copy.open().unwrap();
    assert_eq!(copied.verify().unwrap().faults, Vec::<String>::new());
    assert_eq!(load(&copied, 1).unwrap().len(), 3);
    assert_eq!(older(&copied, b"house", ALL).unwrap().len(), 3);
    // It goes on from there, as a database of its own right.
    fold(&mut copied, &[version(b"other", 1, 7, Some(b"1"))]).unwrap();
    assert!(!copied.identity().is_backup);
    drop(copied);
    assert!(!SqliteSnapshot::look(&to).unwrap().is_backup);
}

#[test]
fn a_backup_replaces_nothing_and_leaves_nothing_half_done() {
    let place = village(Keep::All);
    let snapshot = place.open().unwrap();
    let to = place.dir.path().join("copy");
    std::fs::write(&to, "mine").unwrap();
    assert!(matches!(snapshot.backup(&to), Err(Error::Io { .. })));
    assert_eq!(std::fs::read(&to).unwrap(), b"mine");
    let nowhere = place.dir.path().join("no/such/directory");
    assert!(matches!(snapshot.backup(&nowhere), Err(Error::Io { .. })));
    // SQLite cannot be told this name, which is found out when there is a file.
    let unsayable = place.dir.path().join(OsStr::from_bytes(b"copy\xff"));
    assert!(matches!(snapshot.backup(&unsayable), Err(Error::Mismatch { .. })));
    assert_eq!(place.names(), ["copy", "kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"]);
}

#[test]
fn a_write_ahead_log_that_cannot_be_made_durable_is_not_believed() {
    let place = village(Keep::All);
    let wal = super::super::open::beside(&place.path(), "-wal");
    // A link to itself can be opened by nobody.
    std::os::unix::fs::symlink("kv.sqlite-wal", &wal).unwrap();
    let refused = place.open().unwrap_err();
    assert!(matches!(&refused, Error::Io { what: "sync", path, .. } if *path == wal), "{refused}");
    std::fs::remove_file(wal).unwrap();
    assert_eq!(place.open().unwrap().through(), stamp(6));
}
