//! A live view of a server: what STATS tells, as rates, and who waits for whom.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use kv_client::Reply;
use kv_client::blocking::{Client, Session};

use crate::args::Top;
use crate::exit::{Exit, Failure};
use crate::interrupts::Interrupts;
use crate::style::{Palette, Style};

/// The most locks that are shown.
const LOCKS_MAX: usize = 10;

/// What was seen at one look.
struct Look {
    at: Instant,
    stats: Vec<(String, String)>,
    /// From a PING to its reply.
    answered_in: Duration,
}

/// Shows it until Ctrl-C, or for a number of looks.
pub(crate) fn run(client: &Client, options: &Top) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen()?;
    let session = client.session()?;
    let palette = Palette::of_stdout();
    let is_live = io::stdout().is_terminal();
    let mut before = look(client)?;
    let mut looks = 0;
    while options.looks.is_none_or(|max| looks < max) {
        if interrupts.came_within(options.every) {
            break;
        }
        let now = look(client)?;
        let page = page(client, &before, &now, &locks(&session)?, palette);
        let mut out = io::stdout().lock();
        if is_live {
            write!(out, "\x1b[2J\x1b[H")?;
        }
        writeln!(out, "{page}")?;
        out.flush()?;
        before = now;
        looks += 1;
    }
    Ok(Exit::Ok)
}

fn look(client: &Client) -> Result<Look, Failure> {
    let asked = Instant::now();
    client.ping()?;
    let answered_in = asked.elapsed();
    Ok(Look { at: Instant::now(), stats: client.stats()?, answered_in })
}

/// The locks that somebody waits for or holds, those that are waited for first.
fn locks(session: &Session) -> Result<Vec<String>, Failure> {
    let Reply::List(rows) = session.send("LOCKS")? else { return Ok(Vec::new()) };
    let mut shown: Vec<(bool, String)> = rows
        .iter()
        .map(|row| {
            let words: Vec<_> =
                row.iter().map(|word| String::from_utf8_lossy(&word.bytes)).collect();
            let is_held = !words.iter().any(|word| word == "waiting");
            (is_held, words.join("  "))
        })
        .collect();
    shown.sort();
    Ok(shown.into_iter().map(|(_, text)| text).collect())
}

impl Look {
    fn number(&self, name: &str) -> Option<f64> {
        self.stats.iter().find(|(of, _)| of == name).and_then(|(_, value)| value.parse().ok())
    }

    /// How much more it was, a second.
    fn rate(&self, before: &Look, name: &str) -> Option<f64> {
        let more = self.number(name)? - before.number(name)?;
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        Some((more / seconds.max(1e-9)).max(0.0))
    }
}

fn page(client: &Client, before: &Look, now: &Look, locks: &[String], palette: Palette) -> String {
    let mut text = String::new();
    let uptime = now.number("uptime_s").unwrap_or_default();
    let title = format!("{}   up {}", client.address(), span(uptime));
    let _ = writeln!(text, "{}\n", palette.paint(Style::Bold, title));
    let mut line = |name: &str, shown: Option<String>| {
        if let Some(shown) = shown {
            let _ = writeln!(text, "{} {shown}", palette.paint(Style::Dim, format!("{name:<22}")));
        }
    };
    let rate = |name: &str| now.rate(before, name);
    let count = |name: &str| now.number(name).map(|number| grouped(number as u64));
    let size = |name: &str| now.number(name).map(bytes);
    let reads = rate("cache_hits").zip(rate("cache_misses")).map(|(hits, misses)| hits + misses);
    line("reads/s", reads.map(|reads| grouped(reads as u64)));
    line("commits/s", rate("revision").map(|rate| grouped(rate as u64)));
    line("PING answered in", Some(format!("{:.0} µs", now.answered_in.as_secs_f64() * 1e6)));
    line("connections", count("connections"));
    line("transactions open", count("transactions_open"));
    line("read views open", count("read_views_open"));
    line("lock waits/s", rate("lock_waits").map(|rate| format!("{rate:.1}")));
    line("keys", count("keys"));
    line("versions", count("versions"));
    line("memory, resident", size("memory_resident_bytes"));
    line("memory, records", size("record_bytes"));
    let hits = rate("cache_hits").zip(rate("cache_misses")).and_then(|(hits, misses)| {
        let all = hits + misses;
        (all > 0.0).then(|| format!("{:.1} %", hits * 100.0 / all))
    });
    line("found in memory", hits);
    line("log", size("log_bytes"));
    line("log written/s", rate("log_written_bytes").map(bytes));
    line("syncs/s", rate("log_syncs").map(|rate| format!("{rate:.1}")));
    line("snapshot", size("snapshot_bytes"));
    if !locks.is_empty() {
        let heading = "locks: session, transaction, on what, mode, held or waiting, ms";
        let _ = writeln!(text, "\n{}", palette.paint(Style::Bold, heading));
        for lock in locks.iter().take(LOCKS_MAX) {
            let style = if lock.contains("waiting") { Style::Bad } else { Style::Dim };
            let _ = writeln!(text, "{}", palette.paint(style, lock.as_str()));
        }
        if locks.len() > LOCKS_MAX {
            let _ = writeln!(text, "and {} more", locks.len() - LOCKS_MAX);
        }
    }
    text
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn bytes(number: f64) -> String {
    let mut value = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{value:.0} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn span(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(span(3725.0), "1 h 2 min");
    }
}
