//! Files that are not as they were written: never a wrong value, and what is whole is saved.

use super::*;
use crate::snapshot::sqlite::Salvaged;

/// Versions by key and number.
type Versions = BTreeMap<Vec<u8>, BTreeMap<u64, StoredBuf>>;

/// Everything that can be saved, and of which keys the newest version is among it.
fn salvage(place: &Place) -> (Versions, Vec<Vec<u8>>, Salvaged) {
    let (mut all, mut newest) = (Versions::new(), Vec::new());
    let mut found = |version: Stored<'_>, is_newest| {
        if is_newest {
            newest.push(version.key.to_vec());
        }
        let of_key = all.entry(version.key.to_vec()).or_default();
        of_key.insert(version.version.0, version.to_buf());
        Ok(())
    };
    let salvaged = SqliteSnapshot::salvage(&place.path(), None, &mut found).expect("a salvage");
    (all, newest, salvaged)
}

#[test]
fn a_changed_row_is_an_error_for_its_key_and_found_by_verify() {
    let changes = [
        "update pair set value = 'grey' where key = 'tree'",
        "update pair set value = x'677265656e' where key = 'tree'",
        "update pair set value = null where key = 'tree'",
        "update pair set version = 2 where key = 'tree'",
        "update pair set revision = 1 where key = 'tree'",
        "update pair set time = time - 1 where key = 'tree'",
        "update pair set type = 2 where key = 'tree'",
        "update pair set type = 3 where key = 'tree'",
        "update pair set type = 300 where key = 'tree'",
        "update pair set expires = 7 where key = 'tree'",
        "update pair set codec = 1 where key = 'tree'",
        "update pair set checksum = checksum + 1 where key = 'tree'",
        "update pair set key = 'thee' where key = 'tree'",
        "update pair set key = 7 where key = 'tree'",
        "update pair set place = 1 where key = 'tree'",
        "update pair set place = 999 where key = 'tree'",
        "update pair set place = 1 where key = 'house'",
        "delete from pair where key = 'tree'",
        "insert into pair select 'extra', version, revision, time, type, expires, codec, checksum,
           previous, place, value from pair where key = 'tree'",
        "update history set value = 'x' || value where version = 3",
    ];
    for change in changes {
        let place = village(Keep::All);
        place.change(change);
        let snapshot = place.open().expect(change);
        for threads in [1, 2] {
            let refused = load(&snapshot, threads);
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{change}: {refused:?}");
            assert!(!refused.unwrap_err().to_string().contains("byte"), "no place is made up");
        }
        assert_ne!(snapshot.verify().unwrap().faults, Vec::<String>::new(), "{change}");
    }
}

#[test]
fn a_changed_row_of_the_history_is_an_error_for_its_key_and_found_by_verify() {
    let changes = [
        "update history set value = 'tiny' where value = 'small'",
        "update history set version = 7 where value = 'small'",
        "update history set version = 2 where value = 'small'",
        "update history set key = 'tree' where value = 'small'",
        "update history set previous = 3 where value = 'large'",
        "update pair set previous = 1 where key = 'car'",
        "update history set checksum = 0 where value = 'large'",
    ];
    for change in changes {
        let place = village(Keep::All);
        place.change(change);
        let snapshot = place.open().expect(change);
        let looks = [b"house", &b"car"[..]].map(|key| older(&snapshot, key, ALL));
        let damaged = looks.iter().filter(|look| matches!(look, Err(Error::Damaged { .. })));
        assert_eq!(damaged.count(), 1, "{change}");
        assert_ne!(snapshot.verify().unwrap().faults, Vec::<String>::new(), "{change}");
        assert_eq!(load(&snapshot, 1).unwrap().len(), 3, "{change}");
    }
    let place = village(Keep::All);
    place.change("delete from history where value = 'small'");
    assert_ne!(place.open().unwrap().verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn changed_metadata_is_refused() {
    let changes = [
        "update meta set value = value + 1 where name = 'revision'",
        "update meta set value = 'seven' where name = 'revision'",
        "update meta set value = 7.5 where name = 'revision'",
        "delete from meta where name = 'time'",
        "update meta set value = 'ff' || substr(value, 3) where name = 'database'",
        "update meta set value = 'zz' where name = 'database'",
        "insert into meta values ('also', 1)",
        "update meta set value = value - 1 where name = 'next_id'",
    ];
    for change in changes {
        let place = village(Keep::All);
        place.change(change);
        let refused = place.refused_untouched();
        assert!(matches!(refused, Error::Damaged { .. }), "{change}: {refused}");
        // It is of no use for a salvage either, and not needed.
        assert_eq!(salvage(&place).1.len(), 3, "{change}");
    }
}

#[test]
fn versions_that_the_file_has_already_are_not_folded_again() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    let refused = fold(&mut snapshot, &[version(b"house", 3, 9, Some(b"again"))]);
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!(snapshot.through(), stamp(6));
}

/// Keys and values that fill some pages of both tables.
fn town() -> (Place, Versions) {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let mut model = Versions::new();
    for number in 1..=2u64 {
        let mut versions = Vec::new();
        for house in 0..200u64 {
            let key = match house % 5 {
                4 => vec![0xff, house as u8],
                _ => format!("house {house}").into_bytes(),
            };
            let value = vec![b'v'; if house % 7 == 0 { 500 } else { 100 }];
            let version = version(&key, number, number * 1000 + house, Some(&value));
            model.entry(key).or_default().insert(number, version.clone());
            versions.push(version);
        }
        fold(&mut snapshot, &versions).unwrap();
    }
    (place, model)
}

#[test]
fn no_flipped_bit_makes_a_wrong_value() {
    let (place, model) = town();
    let whole = place.bytes();
    let newest = |key: &[u8]| model[key].values().last().cloned();
    let (mut refused, mut step) = (0, 0);
    for at in (0..whole.len()).step_by(1511) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (step % 8);
        step += 1;
        std::fs::write(place.path(), &bytes).unwrap();
        let loaded = SqliteSnapshot::open_to_read(place.options.clone())
            .and_then(|snapshot| load(&snapshot, 1).map(|loaded| (snapshot, loaded)));
        match loaded {
            Err(_) => refused += 1,
            Ok((snapshot, loaded)) => {
                assert_eq!(loaded.len(), model.len(), "byte {at}");
                for (key, version) in &loaded {
                    assert_eq!(Some(version), newest(key).as_ref(), "byte {at}");
                }
                let key = model.keys().nth(step % model.len()).unwrap();
                if let Ok(older) = older(&snapshot, key, ALL) {
                    assert!(older.iter().eq(model[key].values().rev()), "byte {at}");
                }
            }
        }
        let (saved, _, _) = salvage(&place);
        for (key, versions) in saved {
            for (number, version) in versions {
                assert_eq!(Some(&version), model[&key].get(&number), "byte {at}");
            }
        }
    }
    assert!(refused > step / 4, "only {refused} of {step} were refused");
}

#[test]
fn a_lost_page_costs_what_was_in_it() {
    let (place, model) = town();
    let whole = place.bytes();
    assert_eq!(salvage(&place).0, model);
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages}");
    for page in 1..pages {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(place.path(), &bytes).unwrap();
        let (saved, newest, salvaged) = salvage(&place);
        let versions: usize = saved.values().map(BTreeMap::len).sum();
        let lost = 2 * model.len() - versions;
        // Leaves have about 30 rows; above them is only the root of each table.
        let is_root = lost >= model.len() - 60;
        assert!(is_root || lost <= 60, "page {page}: {lost} versions lost, {salvaged:?}");
        assert!(is_root || newest.len() + 60 >= model.len(), "page {page}");
        if let Ok(snapshot) = SqliteSnapshot::open_to_read(place.options.clone()) {
            let is_loaded = load(&snapshot, 2).is_ok();
            assert!(!is_loaded || newest.len() >= model.len(), "page {page}");
            let faults = snapshot.verify().unwrap().faults;
            assert_ne!(faults, Vec::<String>::new(), "page {page}");
        }
    }
}

#[test]
fn a_file_that_was_cut_is_refused_and_salvaged() {
    let (place, model) = town();
    let whole = place.bytes();
    for pages in [1, 2, 5, 10, whole.len() / 4096 - 1] {
        std::fs::write(place.path(), &whole[..pages * 4096]).unwrap();
        let opened = SqliteSnapshot::open_to_read(place.options.clone());
        let refused = opened.and_then(|snapshot| {
            assert_ne!(snapshot.verify()?.faults, Vec::<String>::new());
            load(&snapshot, 1)
        });
        assert!(refused.is_err(), "{pages} pages");
        let (saved, _, salvaged) = salvage(&place);
        assert!(salvaged.has_gaps, "{pages} pages");
        assert!(saved.iter().all(|(key, of_key)| {
            of_key.iter().all(|(number, version)| model[key].get(number) == Some(version))
        }));
    }
}
