//! Putting the pairs of a file.
//!
//! A batch of records is one transaction, all of it or nothing. Beside the file, `FILE.imported`
//! tells how many records are in, and on which server; it is written after each commit, so an
//! import that goes on puts at most one batch again, which changes nothing but version numbers. One
//! that begins anew removes it first.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv_client::blocking::{Client, Commands};
use kv_client::{EncodedValue, Error, Put};
use kv_protocol::limits::SizeLimits;
use kv_protocol::transfer::{Reader, Record};

use super::{format_of, is_standard, progress};
use crate::args::Import;
use crate::exit::{Exit, Failure};

/// A batch is put when it has so many bytes, however few records that are: far below what a server
/// takes in one transaction.
const BATCH_BYTES: usize = 16 << 20;

/// Puts what is in the file.
pub(crate) fn import(client: &Client, options: &Import) -> Result<Exit, Failure> {
    let path = &options.file;
    let format = format_of(options.format.as_deref(), path)?;
    let input: Box<dyn BufRead> = if is_standard(path) {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let mark = (!is_standard(path)).then(|| mark_of(path));
    let before = match &mark {
        Some(mark) if options.resume => read_mark(mark, &client.address())?,
        Some(mark) => {
            // What an earlier import has left says nothing of this one.
            let _ = fs::remove_file(mark);
            0
        }
        None => 0,
    };
    // Room for what any server may be told to take.
    let limits = SizeLimits { value_bytes_max: 1 << 30, ..SizeLimits::default() };
    let mut reader = Reader::new(format, input, limits);
    let bar = progress::bar("imported", None);
    let (mut done, mut expired) = (0, 0);
    while done < before && next(&mut reader, done)?.is_some() {
        done += 1;
    }
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        let record = next(&mut reader, done)?;
        let is_over = record.is_none();
        batch_bytes += record.as_ref().map_or(0, |of| of.key.len() + of.value.len());
        batch.extend(record);
        if batch.is_empty() {
            break;
        }
        let is_full = batch.len() as u64 >= options.batch || batch_bytes >= BATCH_BYTES;
        if !is_over && !is_full {
            continue;
        }
        expired += put(client, &batch)
            .map_err(|error| behind(Failure::from(error), done, mark.as_deref()))?;
        done += batch.len() as u64;
        bar.inc(batch.len() as u64);
        batch.clear();
        batch_bytes = 0;
        if let Some(mark) = &mark {
            write_mark(mark, done, &client.address())
                .map_err(|error| Failure::io(mark.display(), &error))?;
        }
    }
    bar.finish_and_clear();
    if let Some(mark) = &mark {
        // It has done its work.
        let _ = fs::remove_file(mark);
    }
    let skipped = match expired {
        0 => String::new(),
        expired => format!(", {expired} of which had expired and were left out"),
    };
    writeln!(io::stderr(), "{done} pairs were read{skipped}")?;
    if !reader.is_whole() && format != kv_protocol::transfer::Format::Csv {
        writeln!(io::stderr(), "warning: the file has no end: it may have been cut off")?;
    }
    Ok(Exit::Ok)
}

fn next(
    reader: &mut Reader<Box<dyn BufRead>>,
    done: u64,
) -> Result<Option<Record<'static>>, Failure> {
    reader.next_record().map_err(|error| {
        let text = format!("{error}; {done} pairs before it are in");
        Failure::new(Exit::Failed, text)
    })
}

/// Puts a batch in one transaction; how many of it had expired.
fn put(client: &Client, batch: &[Record<'_>]) -> Result<u64, Error> {
    let now_ms =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut puts = Vec::with_capacity(batch.len());
    for record in batch {
        let mut put = Put::new();
        if let Some(expires_ms) = record.expires_ms {
            let Some(left_ms) = expires_ms.checked_sub(now_ms).filter(|left| *left > 0) else {
                continue;
            };
            put = put.expires_after(Duration::from_secs(left_ms.div_ceil(1000)));
        }
        let value = EncodedValue { bytes: (&*record.value).into(), json: record.json };
        puts.push((&*record.key, value, put));
    }
    client.transaction(|txn| txn.put_all(puts.iter().cloned()))?;
    Ok((batch.len() - puts.len()) as u64)
}

fn behind(failure: Failure, done: u64, mark: Option<&Path>) -> Failure {
    let how = match mark {
        Some(_) => "; --resume goes on there",
        None => "",
    };
    Failure::new(failure.exit, format!("{failure}\n{done} pairs are in{how}"))
}

fn mark_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".imported");
    name.into()
}

/// Replaces it as a whole, so that it is always true.
fn write_mark(mark: &Path, done: u64, server: &str) -> io::Result<()> {
    let mut new = mark.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, format!("{done} {server}\n"))?;
    fs::rename(&new, mark)
}

fn read_mark(mark: &Path, server: &str) -> Result<u64, Failure> {
    let text = match fs::read_to_string(mark) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Failure::io(mark.display(), &error)),
    };
    let name = mark.display();
    let told = text.trim().split_once(' ');
    let told = told.and_then(|(done, of)| Some((done.parse().ok()?, of)));
    match told {
        Some((done, of)) if of == server => Ok(done),
        Some((_, of)) => Err(Failure::usage(format!(
            "{name} is of an import into {of}, not into {server}; without --resume it begins anew"
        ))),
        None => Err(Failure::usage(format!("{name} does not say how far an import came"))),
    }
}
