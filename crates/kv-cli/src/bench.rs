//! Load on a server, and how it answers.
//!
//! **Closed loop** (without `--rate`): each of the clients' slots sends its next command when the
//! last is answered; the rate is what comes out. **Open loop**: commands are due at fixed times
//! whatever the answers, and a latency counts from when its command was due. So a server that
//! pauses is charged for everybody who would have come meanwhile, which a closed loop leaves out
//! ("coordinated omission", G. Tene).
//!
//! Latencies are kept in HDR histograms of three digits, from a microsecond to a minute.

mod plot;

use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kv_client::{Client, Commands, Put};
use tokio::task::JoinSet;

use crate::args::{Bench, Options};
use crate::exit::{Exit, Failure};
use crate::render::Format;
use crate::top::grouped;

/// What all keys of a run begin with.
const PREFIX: &str = "bench:";
/// The most keys that are put or deleted in one go, and the bytes of their values.
const CHUNK: u32 = 1000;
const CHUNK_BYTES: u32 = 16 << 20;
const LATENCY_US_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// Latencies in microseconds, by command.
#[derive(Clone)]
struct Latencies {
    gets: Histogram<u64>,
    puts: Histogram<u64>,
}

/// Puts the load on the server.
pub(crate) fn run(options: &Options, bench: &Bench) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))?;
    runtime.block_on(measured(options, bench))
}

async fn measured(options: &Options, bench: &Bench) -> Result<Exit, Failure> {
    let mut clients = Vec::new();
    for _ in 0..bench.clients {
        let builder = Client::builder(&options.server).reply_timeout(options.timeout);
        clients.push(builder.connect().await?);
    }
    let first = clients[0].clone();
    let loaded = match fill(&first, bench).await {
        Ok(()) => load(&clients, bench).await,
        Err(failure) => Err(failure),
    };
    if !bench.keep {
        delete(&first, bench).await?;
    }
    let (latencies, elapsed) = loaded?;
    let seconds = elapsed.as_secs_f64();
    let rows = rows(&latencies, seconds);
    let mut out = io::stdout().lock();
    match options.format() {
        Some(Format::Json | Format::Ndjson) => {
            rows.iter().try_for_each(|row| writeln!(out, "{}", row.json()))?;
        }
        _ => write!(out, "{}", table(bench, &rows, seconds))?,
    }
    if let Some(path) = &bench.plot {
        let picture = plot::picture(&[("GET", &latencies.gets), ("PUT", &latencies.puts)]);
        std::fs::write(path, picture).map_err(|e| Failure::io(path.display(), &e))?;
    }
    Ok(Exit::Ok)
}

fn key(number: u32) -> String {
    format!("{PREFIX}{number:010}")
}

async fn fill(client: &Client, bench: &Bench) -> Result<(), Failure> {
    let value = vec![b'x'; bench.value as usize];
    // Few large values at a time, many small ones.
    let chunk_keys = (CHUNK_BYTES / bench.value.max(1)).clamp(1, CHUNK);
    for chunk in chunks(bench.keys, chunk_keys) {
        client.put_all(chunk.map(|number| (key(number), &value, Put::new()))).await?;
    }
    Ok(())
}

/// Deletes what was put, and nothing else.
async fn delete(client: &Client, bench: &Bench) -> Result<(), Failure> {
    for chunk in chunks(bench.keys, CHUNK) {
        client.delete_all(chunk.map(key)).await?;
    }
    Ok(())
}

fn chunks(keys: u32, chunk_keys: u32) -> impl Iterator<Item = Range<u32>> {
    let from = (0..keys).step_by(chunk_keys as usize);
    from.map(move |from| from..keys.min(from.saturating_add(chunk_keys)))
}

/// All slots at once, for a while; what they saw, and how long it was.
async fn load(clients: &[Client], bench: &Bench) -> Result<(Latencies, Duration), Failure> {
    let value = Arc::new(vec![b'x'; bench.value as usize]);
    let slots = bench.clients * bench.in_flight;
    let every =
        bench.rate.map(|rate| Duration::from_secs(1).mul_f64(f64::from(slots) / f64::from(rate)));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    // A histogram takes a hundred kilobytes: one for each client, not for each slot.
    let seen: Vec<Arc<Mutex<Latencies>>> = clients
        .iter()
        .map(|_| Ok(Arc::new(Mutex::new(Latencies::new()?))))
        .collect::<Result<_, Failure>>()?;
    for slot in 0..slots {
        let at = slot as usize % clients.len();
        let (client, seen) = (clients[at].clone(), Arc::clone(&seen[at]));
        // Slots take turns, rather than all send at once.
        let first = every.map(|every| began + every.mul_f64(f64::from(slot) / f64::from(slots)));
        let slot = Slot { client, bench: bench.clone(), value: Arc::clone(&value), every, seen };
        tasks.spawn(slot.run(began, first));
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| Failure::new(Exit::Failed, error.to_string()))??;
    }
    let elapsed = began.elapsed();
    let mut all = Latencies::new()?;
    for seen in &seen {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.gets.add(&seen.gets).and_then(|()| all.puts.add(&seen.puts)).map_err(histogram)?;
    }
    Ok((all, elapsed))
}

/// One command in flight.
struct Slot {
    client: Client,
    bench: Bench,
    value: Arc<Vec<u8>>,
    every: Option<Duration>,
    seen: Arc<Mutex<Latencies>>,
}

impl Slot {
    async fn run(self, began: Instant, first: Option<Instant>) -> Result<(), Failure> {
        let end = began + self.bench.time;
        let mut due = first;
        while Instant::now() < end {
            if let Some(due) = due {
                if due >= end {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
            }
            let from = due.unwrap_or_else(Instant::now);
            let key = key(fastrand::u32(0..self.bench.keys));
            let is_put = fastrand::u32(0..100) < self.bench.puts;
            if is_put {
                self.client.put(&key, &*self.value).await?;
            } else {
                self.client.get(&key).await?;
            }
            let latency_us = from.elapsed().as_micros() as u64;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let histogram = if is_put { &mut seen.puts } else { &mut seen.gets };
            histogram.saturating_record(latency_us.max(1));
            drop(seen);
            due = due.zip(self.every).map(|(due, every)| due + every);
        }
        Ok(())
    }
}

impl Latencies {
    fn new() -> Result<Self, Failure> {
        let empty = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(Latencies { gets: empty.clone(), puts: empty })
    }
}

fn histogram(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

/// What one command came to.
struct Row {
    command: &'static str,
    count: u64,
    per_second: f64,
    /// At 50, 90, 99 and 99.9 percent, and the longest.
    latencies_us: [u64; 5],
}

fn rows(latencies: &Latencies, seconds: f64) -> Vec<Row> {
    [("GET", &latencies.gets), ("PUT", &latencies.puts)]
        .into_iter()
        .filter(|(_, seen)| !seen.is_empty())
        .map(|(command, seen)| {
            let at = |quantile| seen.value_at_quantile(quantile);
            Row {
                command,
                count: seen.len(),
                per_second: seen.len() as f64 / seconds,
                latencies_us: [at(0.5), at(0.9), at(0.99), at(0.999), seen.max()],
            }
        })
        .collect()
}

impl Row {
    fn json(&self) -> String {
        let [p50, p90, p99, p999, max] = self.latencies_us;
        format!(
            "{{\"command\":\"{}\",\"count\":{},\"per_second\":{:.1},\"p50_us\":{p50},\
             \"p90_us\":{p90},\"p99_us\":{p99},\"p999_us\":{p999},\"max_us\":{max}}}",
            self.command, self.count, self.per_second
        )
    }
}

fn table(bench: &Bench, rows: &[Row], seconds: f64) -> String {
    let loop_kind = match bench.rate {
        Some(rate) => format!("open loop at {} commands/s", grouped(rate.into())),
        None => "closed loop".to_owned(),
    };
    let mut text = format!(
        "{} clients, {} in flight each, {loop_kind}, {seconds:.1} s, {} keys, values of {} \
         bytes\n\n",
        bench.clients,
        bench.in_flight,
        grouped(bench.keys.into()),
        bench.value
    );
    text += "command   commands/s    p50 µs    p90 µs    p99 µs  p99.9 µs    max µs\n";
    for row in rows {
        text += &format!("{:<7} {:>12}", row.command, grouped(row.per_second as u64));
        for latency in row.latencies_us {
            text += &format!("{:>10}", grouped(latency));
        }
        text.push('\n');
    }
    text
}
