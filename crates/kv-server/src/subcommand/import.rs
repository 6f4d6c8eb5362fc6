//! `import`: pairs from a file into a data directory.
//!
//! A file is read twice: once to see whether it can be read to its end, and then to import it. Its
//! pairs are written in batches, each a transaction.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::rc::Rc;

use kv_core::limits::EXPIRY_MS_MAX;
use kv_core::{Condition, Database, Transaction, ValueKind};
use kv_protocol::limits::SizeLimits;
use kv_protocol::transfer::{Format, Reader, Record};
use kv_protocol::word::Shown;

use super::progress::Progress;
use super::transfer::Transfer;
use super::{Failure, say, store};
use crate::config::{Config, DataDirectory};

/// Pairs written in one transaction: enough that the disk is waited for seldom.
const BATCH_PAIRS_MAX: usize = 10_000;
/// Bytes written in one transaction, unless a single pair has more.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// What a pair takes in a write set besides key and value, in bytes, rounded up generously.
const PAIR_OVERHEAD_BYTES: usize = 64;
/// Bytes read from a file at once.
const READ_BYTES: usize = 256 << 10;

/// How pairs are read and written.
#[derive(Clone, Copy)]
struct Plan {
    format: Format,
    limits: SizeLimits,
    batch_pairs_max: usize,
    batch_bytes_max: usize,
}

impl Plan {
    fn new(format: Format, config: &Config) -> Plan {
        Plan {
            format,
            limits: config.size_limits(),
            batch_pairs_max: BATCH_PAIRS_MAX.min(config.locks_max),
            batch_bytes_max: BATCH_BYTES_MAX.min(config.write_set_bytes_max),
        }
    }
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Imported {
    pairs: u64,
    /// Whether the input is known to be all of it.
    is_whole: bool,
}

pub(super) fn run(
    transfer: &Transfer<'_>,
    config: &Config,
    directory: &DataDirectory,
) -> Result<(), Failure> {
    let plan = Plan::new(transfer.format, config);
    let (input, bytes) = open(transfer.path, plan)?;
    let opened = store::open(config, directory)?;
    let imported = import(opened.database(), input, bytes, plan);
    // What is imported is kept, whatever became of the rest.
    let closed = store::close(&opened);
    let imported = imported?;
    closed?;
    say(&format!("imported {} pairs", imported.pairs));
    if plan.format == Format::Ndjson && !imported.is_whole {
        say("note: the last line is not {\"end\":true,…}: the input may have been cut off");
    }
    Ok(())
}

/// Opens the input and, if it is a file, checks all of it. Answers its length too, if it is known.
fn open(path: Option<&Path>, plan: Plan) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    let Some(path) = path else { return Ok((Box::new(io::stdin()), None)) };
    let failed = |error| Failure::Fault(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // A pipe can be read only once.
    if !metadata.is_file() {
        return Ok((Box::new(file), None));
    }
    let bytes = Some(metadata.len());
    check(&file, bytes, plan)?;
    file.rewind().map_err(failed)?;
    Ok((Box::new(file), bytes))
}

/// Reads a file to its end, so that a mistake in it is found before anything is written.
fn check(file: &File, bytes: Option<u64>, plan: Plan) -> Result<(), Failure> {
    let progress = Progress::of_bytes("checking", bytes);
    let mut pairs = Pairs::new(file, plan);
    let refused = |what| Failure::Fault(format!("nothing was imported: {what}"));
    while pairs.next_pair().map_err(refused)?.is_some() {
        progress.set(pairs.bytes_read());
    }
    Ok(())
}

fn import(
    database: &Database,
    input: impl Read,
    bytes: Option<u64>,
    plan: Plan,
) -> Result<Imported, Failure> {
    let progress = Progress::of_bytes("importing", bytes);
    let mut pairs = Pairs::new(input, plan);
    let mut batch = Batch::default();
    let mut imported = 0;
    let after = |imported: u64, what: String| {
        Failure::Fault(format!("{what}; the {imported} pairs before it are imported"))
    };
    loop {
        let next = pairs.next_pair();
        let next_bytes = match &next {
            Ok(Some(record)) => pair_bytes(record),
            _ => 0,
        };
        let is_full = batch.records.len() == plan.batch_pairs_max
            || batch.bytes + next_bytes > plan.batch_bytes_max;
        if is_full || !matches!(next, Ok(Some(_))) {
            imported +=
                batch.write(database).map_err(|error| after(imported, error.to_string()))?;
            progress.set(pairs.bytes_read());
        }
        match next.map_err(|what| after(imported, what))? {
            None => return Ok(Imported { pairs: imported, is_whole: pairs.is_whole() }),
            Some(record) => batch.push(record),
        }
    }
}

/// The pairs of an input.
struct Pairs<R> {
    reader: Reader<BufReader<Counted<R>>>,
    bytes_read: Rc<Cell<u64>>,
}

impl<R: Read> Pairs<R> {
    fn new(input: R, plan: Plan) -> Self {
        let bytes_read = Rc::new(Cell::new(0));
        let counted = Counted { input, bytes: Rc::clone(&bytes_read) };
        let buffered = BufReader::with_capacity(READ_BYTES, counted);
        Self { reader: Reader::new(plan.format, buffered, plan.limits), bytes_read }
    }

    /// The next pair, or what is wrong with it.
    fn next_pair(&mut self) -> Result<Option<Record<'static>>, String> {
        let record = self.reader.next_record().map_err(|error| error.to_string())?;
        match record {
            Some(Record { expires_ms: Some(at), key, .. }) if at > EXPIRY_MS_MAX => Err(format!(
                "\"expires\" of {} is too late: pairs live until 2109 at most, or for ever",
                Shown(&key)
            )),
            record => Ok(record),
        }
    }

    fn is_whole(&self) -> bool {
        self.reader.is_whole()
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }
}

/// An input that tells somebody else how much of it was read.
struct Counted<R> {
    input: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.bytes.set(self.bytes.get() + bytes as u64);
        Ok(bytes)
    }
}

/// Pairs that are to be written together.
#[derive(Default)]
struct Batch {
    records: Vec<Record<'static>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, record: Record<'static>) {
        self.bytes += pair_bytes(&record);
        self.records.push(record);
    }

    /// Writes the pairs and forgets them; answers how many there were.
    fn write(&mut self, database: &Database) -> Result<u64, kv_core::Error> {
        let pairs = self.records.len() as u64;
        if pairs > 0 {
            database.update(|txn| self.records.iter().try_for_each(|record| put(txn, record)))?;
        }
        self.records.clear();
        self.bytes = 0;
        Ok(pairs)
    }
}

fn pair_bytes(record: &Record<'_>) -> usize {
    record.key.len() + record.value.len() + PAIR_OVERHEAD_BYTES
}

fn put(txn: &mut Transaction, record: &Record<'_>) -> Result<(), kv_core::Error> {
    if let Some(expires_ms) = record.expires_ms {
        let kind = if record.json { ValueKind::Json } else { ValueKind::Text };
        return txn.put_until(&record.key, &record.value, kind, expires_ms);
    }
    if !record.json {
        return txn.put(&record.key, &record.value);
    }
    // A value of a kind is stored on a condition; nobody else is there to change what it is about.
    let condition = match txn.exists(&record.key)? {
        true => Condition::Present,
        false => Condition::Absent,
    };
    txn.put_if(&record.key, &record.value, ValueKind::Json, condition)
}

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    const PLAN: Plan = Plan {
        format: Format::Ndjson,
        limits: SizeLimits { key_bytes_max: 10, value_bytes_max: 100 },
        batch_pairs_max: 3,
        batch_bytes_max: 200,
    };

    fn line(number: u64) -> String {
        format!("{{\"key\":\"{number}\",\"value\":{number}}}\n")
    }

    #[test]
    fn pairs_are_written_in_batches() {
        // So many pairs make so many transactions: by their number, then by their bytes.
        for (pairs, batch_bytes_max, commits) in
            [(0, 1000, 0), (1, 1000, 1), (3, 1000, 1), (4, 1000, 2), (4, 132, 2), (4, 1, 4)]
        {
            let database = Database::builder().open();
            let text: String = (0..pairs).map(line).collect();
            let plan = Plan { batch_bytes_max, ..PLAN };
            let imported = import(&database, text.as_bytes(), None, plan).unwrap();
            assert_eq!(imported, Imported { pairs, is_whole: false });
            assert_eq!(database.revision().0, commits, "{pairs} pairs");
            assert_eq!(database.stats().keys as u64, pairs);
        }
    }

    #[test]
    fn what_is_before_a_mistake_is_imported_and_counted() {
        let database = Database::builder().open();
        let text: String = (0..5).map(line).chain(["PUT a 1\n".to_owned()]).collect();
        let failure = import(&database, text.as_bytes(), None, PLAN).unwrap_err().to_string();
        assert!(failure.starts_with("line 6, record 6: "), "{failure}");
        assert!(failure.ends_with("; the 5 pairs before it are imported"), "{failure}");
        assert_eq!(database.stats().keys, 5);
    }

    #[test]
    fn what_expires_is_kept_for_its_time() {
        let database = Database::builder().open();
        let expiring = |key: &str, at: &str| {
            format!("{{\"key\":\"{key}\",\"value\":1,\"expires\":\"{at}\"}}\n")
        };
        let past = expiring("b", "1999-12-31T00:00:00.000Z");
        let text = expiring("a", "2100-01-01T00:00:00.123Z") + &past;
        assert_eq!(import(&database, text.as_bytes(), None, PLAN).unwrap().pairs, 2);
        let scan = kv_core::ScanOptions::default();
        let rows = database.view(|txn| txn.scan(&scan)).unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.key(), row.expires_ms())).collect();
        assert_eq!(rows, [(&b"a"[..], Some(4_102_444_800_123))]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let database = Database::builder().open();
        let text = r#"{"key":"a","value":"1","expires":"2110-01-01T00:00:00.000Z"}"#;
        let failure = import(&database, text.as_bytes(), None, PLAN).unwrap_err().to_string();
        assert!(failure.starts_with("\"expires\" of \"a\" is too late"), "{failure}");
        assert_eq!(database.stats().keys, 0);
    }

    #[test]
    fn keys_that_are_there_get_a_new_version_and_the_new_kind() {
        let database = Database::builder().open();
        database.put("0", "old").unwrap();
        let text = line(0) + "{\"key\":\"0\",\"value\":\"7\"}\n{\"end\":true,\"count\":2}";
        let one_each = Plan { batch_pairs_max: 1, ..PLAN };
        let imported = import(&database, text.as_bytes(), None, one_each).unwrap();
        assert_eq!(imported, Imported { pairs: 2, is_whole: true });
        let kinds: Vec<_> = database
            .view(|txn| txn.history("0", None))
            .unwrap()
            .iter()
            .map(|past| past.value.as_ref().map(Value::kind))
            .collect();
        let text = Some(ValueKind::Text);
        assert_eq!(kinds, [text, Some(ValueKind::Json), text]);
    }
}
