//! How replies are shown.
//!
//! | format | single reply | list |
//! |---|---|---|
//! | text | as the server's: `OK`, `"value"`, `NIL`, a number | rows of words, then their number |
//! | raw | the value's bytes and a line break | a row a line, words separated by tabs |
//! | raw0 | the value's bytes and a NUL | words separated by tabs, each row ended by a NUL |
//! | table | a table with one row | a table |
//! | json | the server's object | the server's object |
//! | ndjson | the server's object | an object a row |
//! | csv | a header and a row | a header and rows |
//!
//! On a terminal `text` is what is not chosen otherwise, elsewhere `raw`.

mod table;

use std::io::{self, Write};

use clap::ValueEnum;
use kv_client::Reply;
use kv_protocol::word::{Word, write_quoted};

use crate::answer::{Answer, Row};
use crate::style::{Palette, Style};

/// How replies are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As the server writes them, for people.
    Text,
    /// Bytes as they are, for programs.
    Raw,
    /// The same, ended by NUL.
    Raw0,
    /// Tables.
    Table,
    /// One object a reply.
    Json,
    /// One object a row.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
}

impl Format {
    /// Whether replies are asked for in JSON.
    pub(crate) fn needs_json(self) -> bool {
        matches!(self, Format::Table | Format::Json | Format::Ndjson | Format::Csv)
    }
}

/// Writes a reply as text or raw.
pub(crate) fn reply(
    out: &mut impl Write,
    format: Format,
    palette: Palette,
    reply: &Reply,
) -> io::Result<()> {
    match format {
        Format::Raw => raw(out, reply, b'\n'),
        Format::Raw0 => raw(out, reply, 0),
        _ => text(out, palette, reply),
    }
}

fn text(out: &mut impl Write, palette: Palette, reply: &Reply) -> io::Result<()> {
    match reply {
        Reply::Ok(None) => writeln!(out, "{}", palette.paint(Style::Good, "OK")),
        Reply::Ok(Some(number)) => {
            writeln!(out, "{} {number}", palette.paint(Style::Good, "OK"))
        }
        Reply::Value(value) => {
            out.write_all(&word(palette, value, true))?;
            out.write_all(b"\n")
        }
        Reply::Nil => writeln!(out, "{}", palette.paint(Style::Dim, "NIL")),
        Reply::Number(number) => {
            writeln!(out, "{}", palette.paint(Style::Number, number.to_string()))
        }
        Reply::Pong => writeln!(out, "PONG"),
        Reply::List(rows) => {
            for row in rows {
                out.write_all(&words(palette, row))?;
                out.write_all(b"\n")?;
            }
            let noun = if rows.len() == 1 { "row" } else { "rows" };
            let count = format!("({} {noun})", rows.len());
            writeln!(out, "{}", palette.paint(Style::Dim, count))
        }
        _ => Ok(()),
    }
}

fn words(palette: Palette, row: &[Word<'_>]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = row.iter().map(|of| word(palette, &of.bytes, of.quoted)).collect();
    words.join(&b' ')
}

fn word(palette: Palette, bytes: &[u8], is_quoted: bool) -> Vec<u8> {
    let mut shown = Vec::new();
    let style = match is_quoted {
        true => {
            write_quoted(&mut shown, bytes);
            Style::Value
        }
        false => {
            shown.extend_from_slice(bytes);
            if bytes.iter().all(u8::is_ascii_digit) { Style::Number } else { Style::Dim }
        }
    };
    match String::from_utf8(shown) {
        Ok(text) => palette.paint(style, text).into_owned().into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn raw(out: &mut impl Write, reply: &Reply, end: u8) -> io::Result<()> {
    match reply {
        Reply::Ok(None) => out.write_all(b"OK")?,
        Reply::Ok(Some(number)) => write!(out, "OK {number}")?,
        Reply::Value(value) => out.write_all(value)?,
        Reply::Nil => {}
        Reply::Number(number) => write!(out, "{number}")?,
        Reply::Pong => out.write_all(b"PONG")?,
        Reply::List(rows) => {
            for row in rows {
                let words: Vec<&[u8]> = row.iter().map(|word| &*word.bytes).collect();
                out.write_all(&words.join(&b'\t'))?;
                out.write_all(&[end])?;
            }
            return Ok(());
        }
        _ => {}
    }
    out.write_all(&[end])
}

/// Writes a reply of which the server has made JSON.
pub(crate) fn answer(
    out: &mut impl Write,
    format: Format,
    palette: Palette,
    object: &str,
    answer: &Answer,
) -> io::Result<()> {
    match (format, answer) {
        (Format::Ndjson, Answer::Rows(rows)) => {
            rows.iter().try_for_each(|row| writeln!(out, "{}", row.object))
        }
        (Format::Json | Format::Ndjson, _) => writeln!(out, "{object}"),
        (Format::Csv, _) => {
            let (names, rows) = grid(answer);
            if names.is_empty() {
                // An empty list has no columns that anybody could name.
                return Ok(());
            }
            let mut writer = csv::Writer::from_writer(out);
            writer.write_record(&names)?;
            rows.iter().try_for_each(|row| writer.write_record(row))?;
            writer.flush()
        }
        _ => {
            let (names, rows) = grid(answer);
            table::write(out, palette, &names, &rows)
        }
    }
}

/// The names of all columns, in the order in which they first appear, and the fields below them.
fn grid(answer: &Answer) -> (Vec<String>, Vec<Vec<String>>) {
    let single;
    let rows: Vec<&[(String, String)]> = match answer {
        Answer::Rows(rows) => rows.iter().map(|Row { columns, .. }| &columns[..]).collect(),
        Answer::Single { columns, .. } => {
            single = columns;
            vec![&single[..]]
        }
    };
    let mut names: Vec<String> = Vec::new();
    for (name, _) in rows.iter().copied().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let field = |row: &[(String, String)], name: &String| {
        row.iter().find(|(of, _)| of == name).map(|(_, field)| field.clone()).unwrap_or_default()
    };
    let fields =
        rows.iter().map(|row| names.iter().map(|name| field(row, name)).collect()).collect();
    (names, fields)
}
