//! Writing pairs to a file.
//!
//! All pairs are those of one state of the store, read in one READONLY transaction page by page;
//! with each page, type and time to live of its keys are asked for in one go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kv_client::blocking::{Client, Commands};
use kv_client::{Isolation, Key, Scan};
use kv_protocol::limits::SizeLimits;
use kv_protocol::transfer::{Format, Reader, Record, Writer};

use super::{format_of, is_standard, progress};
use crate::args::Export;
use crate::exit::{Exit, Failure};

/// The most keys of a page; the first has fewer.
const PAGE_ROWS_MAX: u64 = 512;
const PAGE_ROWS_FIRST: u64 = 64;
/// What a page aims at.
const PAGE_BYTES: u64 = 4 << 20;

/// Writes what was asked for.
pub(crate) fn export(client: &Client, options: &Export) -> Result<Exit, Failure> {
    let path = &options.file;
    let format = format_of(options.format.as_deref(), path)?;
    let mut scan = match &options.prefix {
        Some(prefix) => Scan::prefix(prefix),
        None => Scan::all(),
    };
    let mut before = 0;
    let output: Box<dyn Write> = if is_standard(path) {
        Box::new(io::stdout())
    } else if options.resume {
        let resumed = Resumed::of(path, format)?;
        before = resumed.records;
        if let Some(last) = resumed.last {
            scan = scan.after(last);
        }
        Box::new(resumed.file)
    } else {
        Box::new(File::create(path).map_err(|error| Failure::io(path.display(), &error))?)
    };
    let view = client.begin(Isolation::ReadOnly)?;
    // The view tells times to live as of its beginning.
    let began_ms = now_ms();
    let total = view.count(scan.clone())?;
    let bar = progress::bar("exported", Some(total));
    let output = BufWriter::with_capacity(1 << 20, output);
    let mut writer = Writer::going_on(format, output, before);
    let mut page_rows = PAGE_ROWS_FIRST;
    loop {
        let page = view.page(scan.clone().limit(page_rows))?;
        let Some((last, _)) = page.last() else { break };
        scan = scan.after(last.clone());
        let keys: Vec<&Key> = page.iter().map(|(key, _)| key).collect();
        let metas = view.meta_all(keys)?;
        let bytes: usize = page.iter().map(|(key, value)| key.len() + value.len()).sum();
        let row_bytes = (bytes / page.len()).max(1) as u64;
        page_rows = (PAGE_BYTES / row_bytes).clamp(1, PAGE_ROWS_MAX);
        for ((key, value), meta) in page.iter().zip(metas) {
            let Some(meta) = meta else { continue };
            let life_ms = meta.time_to_live.map(|life| life.as_millis() as u64);
            writer.write(&Record {
                key: (&**key).into(),
                value: (&**value).into(),
                json: meta.json,
                expires_ms: life_ms.map(|life_ms| began_ms + life_ms),
            })?;
        }
        bar.inc(page.len() as u64);
    }
    let count = writer.count();
    writer.finish()?;
    bar.finish_and_clear();
    if !is_standard(path) {
        writeln!(io::stderr(), "{count} pairs are in {}", path.display())?;
    }
    Ok(Exit::Ok)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A file to go on with.
struct Resumed {
    /// Cut behind its last whole record.
    file: File,
    /// That record's key.
    last: Option<Vec<u8>>,
    /// How many there are.
    records: u64,
}

impl Resumed {
    fn of(path: &Path, format: Format) -> Result<Self, Failure> {
        if format != Format::Ndjson {
            let text = "only an NDJSON file can be gone on with: use --as ndjson";
            return Err(Failure::usage(text));
        }
        let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(|error| Failure::io(path.display(), &error))?;
        let mut input = BufReader::new(&file);
        let (mut whole_bytes, mut records, mut last) = (0, 0, None);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bytes = input.read_until(b'\n', &mut line)? as u64;
            if !line.ends_with(b"\n") {
                break;
            }
            let mut reader = Reader::new(Format::Ndjson, &line[..], SizeLimits::default());
            // The end of a whole file, or something broken: what follows is not kept.
            let Ok(Some(record)) = reader.next_record() else { break };
            last = Some(record.key.into_owned());
            records += 1;
            whole_bytes += bytes;
        }
        file.set_len(whole_bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Resumed { file, last, records })
    }
}
