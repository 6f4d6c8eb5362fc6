//! Putting the pairs of a file.
//!
//! A batch of records is one transaction, all of it or nothing. Beside the file, `FILE.imported`
//! tells how many records are in; it is written after each commit, so an import that goes on puts
//! at most one batch again, which changes nothing but version numbers.

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
        Some(mark) if options.resume => read_mark(mark)?,
        _ => 0,
    };
    // Room for what any server may be told to take.
    let limits = SizeLimits { value_bytes_max: 1 << 30, ..SizeLimits::default() };
    let mut reader = Reader::new(format, input, limits);
    let bar = progress::bar("imported", None);
    let (mut done, mut expired) = (0, 0);
    while done < before && next(&mut reader, done)?.is_some() {
        done += 1;
    }
    let mut batch = Vec::new();
    loop {
        let record = next(&mut reader, done)?;
        let is_over = record.is_none();
        batch.extend(record);
        if batch.is_empty() {
            break;
        }
        if !is_over && (batch.len() as u64) < options.batch {
            continue;
        }
        expired += put(client, &batch)
            .map_err(|error| behind(Failure::from(error), done, mark.as_deref()))?;
        done += batch.len() as u64;
        bar.inc(batch.len() as u64);
        batch.clear();
        if let Some(mark) = &mark {
            fs::write(mark, format!("{done}\n")).map_err(|e| Failure::io(mark.display(), &e))?;
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

fn read_mark(mark: &Path) -> Result<u64, Failure> {
    match fs::read_to_string(mark) {
        Ok(text) => text.trim().parse().map_err(|_| {
            Failure::usage(format!("{} does not say how far an import came", mark.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Failure::io(mark.display(), &error)),
    }
}
