//! Settings that remember what they were, and go back to it.
//!
//! Shows versions and revisions: `history`, a read `AT` a revision, a conditional write, and a
//! roll back of several keys to an earlier state in one transaction.

#![allow(clippy::print_stdout, reason = "an example talks")]

use kv_core::{
    BeginOptions, Condition, Database, Error, Interval, Isolation, Revision, ScanOptions,
    ValueKind, Version,
};

/// Keys and values.
type Settings = Vec<(Vec<u8>, Vec<u8>)>;

/// Every setting as it was at a revision.
fn settings_at(db: &Database, at: Revision) -> Result<Settings, Error> {
    let isolation = Some(Isolation::Readonly);
    let mut then = db.begin(BeginOptions { isolation, at: Some(at), ..Default::default() })?;
    let rows = then.scan(&ScanOptions::of(Interval::prefix(b"set/")))?;
    let pair = |row: &kv_core::Row| Some((row.key().to_vec(), row.value()?.to_vec()));
    Ok(rows.iter().filter_map(pair).collect())
}

/// Makes the settings what they were, as one new commit.
fn roll_back_to(db: &Database, at: Revision) -> Result<(), Error> {
    let wanted = settings_at(db, at)?;
    db.update(|txn| {
        let all = ScanOptions::of(Interval::prefix(b"set/"));
        for row in txn.scan(&all)? {
            txn.delete(row.key())?;
        }
        wanted.iter().try_for_each(|(key, value)| txn.put(key, value))
    })
}

fn main() -> Result<(), Error> {
    let db = Database::builder().history(None).open();
    db.put(b"set/color", b"blue")?;
    let good = db.put(b"set/size", b"12")?;

    // Two people edit the same version; the second is told.
    let edit = |value: &[u8]| {
        let as_read = Condition::Version(Version(1));
        db.update(|txn| txn.put_if(b"set/color", value, ValueKind::Text, as_read))
    };
    edit(b"red")?;
    let refused = edit(b"green");
    assert!(matches!(refused, Err(Error::Precondition { current: Version(2), .. })));
    db.update(|txn| {
        txn.delete(b"set/size")?;
        txn.put(b"set/debug", b"on")
    })?;

    roll_back_to(&db, good)?;
    assert_eq!(settings_at(&db, db.revision())?, settings_at(&db, good)?);
    for past in db.view(|txn| txn.history(b"set/color", None))? {
        println!("color, version {}: {:?}", past.version, past.value);
    }
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
