//! `export`: all pairs of a data directory to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kv_core::{Database, Interval, Row, ScanOptions, Value, ValueKind};
use kv_protocol::transfer::{Format, Record, Writer};

use super::progress::Progress;
use super::transfer::Transfer;
use super::{Failure, say, store};
use crate::config::{Config, DataDirectory};

/// Rows looked up at once; their values are not copied meanwhile.
const PAGE_ROWS: u64 = 1000;
/// Bytes written to a file at once.
const WRITE_BYTES: usize = 256 << 10;
/// The pairs are for their owner, like the directory that they come from.
const FILE_MODE: u32 = 0o600;

pub(super) fn run(
    transfer: &Transfer<'_>,
    config: &Config,
    directory: &DataDirectory,
) -> Result<(), Failure> {
    let opened = store::open_to_read(config, directory)?;
    let pairs = match transfer.path {
        None => export(opened.database(), transfer.format, io::stdout())?.0,
        Some(path) => to_file(opened.database(), transfer.format, path)?,
    };
    say(&format!("exported {pairs} pairs"));
    Ok(())
}

/// Writes a new file, durably; after a failure there is none.
fn to_file(database: &Database, format: Format, path: &Path) -> Result<u64, Failure> {
    let failed = |error| Failure::Fault(format!("cannot write {}: {error}", path.display()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let file = options.open(path).map_err(failed)?;
    let written = export(database, format, file).and_then(|(pairs, file): (u64, File)| {
        file.sync_all().map_err(failed)?;
        Ok(pairs)
    });
    if written.is_err() {
        // What is there is not whole. If it cannot be removed either, the failure is told anyway.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Writes all pairs of one state; answers how many, and the output.
fn export<W: Write>(database: &Database, format: Format, output: W) -> Result<(u64, W), Failure> {
    let progress = Progress::of_pairs("exporting", database.stats().keys as u64);
    let mut writer = Writer::new(format, BufWriter::with_capacity(WRITE_BYTES, output));
    database.view(|txn| {
        let mut interval = Interval::all();
        loop {
            let page = ScanOptions { limit: Some(PAGE_ROWS), ..ScanOptions::of(interval.clone()) };
            let rows = txn.scan(&page)?;
            let Some(last) = rows.last() else { return Ok::<(), Failure>(()) };
            interval = interval.after(last.key());
            for row in &rows {
                // A committed row has a value.
                if let Some(value) = row.value() {
                    writer.write(&record(row, &value)).map_err(cannot_write)?;
                }
            }
            progress.set(writer.count());
        }
    })?;
    let pairs = writer.count();
    let buffered = writer.finish().map_err(cannot_write)?;
    let output = buffered.into_inner().map_err(|error| cannot_write(error.into_error()))?;
    Ok((pairs, output))
}

fn record<'a>(row: &'a Row, value: &'a Value) -> Record<'a> {
    Record {
        key: row.key().into(),
        value: value.bytes().into(),
        json: value.kind() == ValueKind::Json,
        expires_ms: row.expires_ms(),
    }
}

fn cannot_write(error: io::Error) -> Failure {
    Failure::Fault(format!("cannot write what is exported: {error}"))
}

#[cfg(test)]
mod tests {
    use kv_core::Condition;

    use super::*;

    #[test]
    fn every_pair_is_exported_whatever_the_pages() {
        let database = Database::builder().open();
        for pairs in [0, 1, PAGE_ROWS, PAGE_ROWS + 1, 2 * PAGE_ROWS] {
            for number in database.stats().keys as u64..pairs {
                database.put(format!("{number:04}"), "1").unwrap();
            }
            let (count, text) = export(&database, Format::Csv, Vec::new()).unwrap();
            assert_eq!(count, pairs);
            let keys = String::from_utf8(text).unwrap();
            let mut keys = keys.lines().skip(1).map(|line| &line[..4]);
            assert!((0..pairs).all(|number| keys.next() == Some(&format!("{number:04}"))));
            assert_eq!(keys.next(), None);
        }
    }

    #[test]
    fn kinds_are_exported_and_deletes_are_not() {
        let database = Database::builder().open();
        let put_json = |txn: &mut kv_core::Transaction| {
            txn.put_if("a", "\"1\"", ValueKind::Json, Condition::Absent)
        };
        database.update(put_json).unwrap();
        database.put("b", [0xff]).unwrap();
        database.put("c", "1").unwrap();
        database.delete("c").unwrap();
        let (_, text) = export(&database, Format::Ndjson, Vec::new()).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"key\":\"a\",\"value\":\"1\",\"type\":\"json\"}\n\
             {\"key\":\"b\",\"value_base64\":\"/w==\"}\n{\"end\":true,\"count\":2}\n"
        );
    }

    #[test]
    fn what_expires_is_exported_with_its_time_and_what_has_expired_is_not() {
        let database = Database::builder().open();
        let put = |key: &str, at_ms: u64| {
            database.update(|txn| txn.put_until(key, "1", ValueKind::Text, at_ms)).unwrap();
        };
        put("a", 4_102_444_800_000);
        put("b", 1_000);
        let (_, text) = export(&database, Format::Ndjson, Vec::new()).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"key\":\"a\",\"value\":\"1\",\"expires\":\"2100-01-01T00:00:00.000Z\"}\n\
             {\"end\":true,\"count\":1}\n"
        );
    }

    #[test]
    fn a_file_is_new_and_only_its_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("kv-export-{}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        let database = Database::builder().open();
        database.put("a", "1").unwrap();
        assert_eq!(to_file(&database, Format::Csv, &path).unwrap(), 1);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let failure = to_file(&database, Format::Csv, &path).unwrap_err().to_string();
        assert!(failure.starts_with(&format!("cannot write {}: ", path.display())), "{failure}");
        assert!(path.exists(), "what was there is not touched");
        std::fs::remove_file(&path).unwrap();
    }
}
