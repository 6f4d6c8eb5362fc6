//! Tables for a terminal: columns as wide as their widest field, long fields cut.

use std::io::{self, Write};

use crate::style::{Palette, Style};

/// The most characters of a field; the rest is told by an ellipsis.
const FIELD_CHARS_MAX: usize = 60;

/// Writes a table, below it how many rows it has.
pub(super) fn write(
    out: &mut impl Write,
    palette: Palette,
    names: &[String],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let shown: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|field| short(field)).collect()).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|at| {
            let fields = shown.iter().map(|row| row[at].chars().count());
            fields.chain([names[at].chars().count()]).max().unwrap_or_default()
        })
        .collect();
    // Numbers stand to the right, where their digits can be compared.
    let is_number: Vec<bool> = (0..names.len())
        .map(|at| !rows.is_empty() && rows.iter().all(|row| is_number(&row[at])))
        .collect();
    let line = |fields: &[String], style: Option<Style>| {
        let cells: Vec<String> = fields
            .iter()
            .enumerate()
            .map(|(at, field)| {
                let pad = " ".repeat(widths[at].saturating_sub(field.chars().count()));
                let text = match style {
                    Some(style) => palette.paint(style, field.as_str()).into_owned(),
                    None => field.clone(),
                };
                if is_number[at] { format!("{pad}{text}") } else { format!("{text}{pad}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    if !names.is_empty() {
        writeln!(out, "{}", line(names, Some(Style::Bold)))?;
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        writeln!(out, "{}", palette.paint(Style::Dim, rule.join("  ")))?;
    }
    for row in &shown {
        writeln!(out, "{}", line(row, None))?;
    }
    let noun = if rows.len() == 1 { "row" } else { "rows" };
    writeln!(out, "{}", palette.paint(Style::Dim, format!("({} {noun})", rows.len())))
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok() || field.is_empty()
}

fn short(field: &str) -> String {
    let visible: String =
        field.chars().map(|c| if c.is_control() { '·' } else { c }).take(FIELD_CHARS_MAX).collect();
    match field.chars().count() > FIELD_CHARS_MAX {
        true => visible + "…",
        false => visible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let names = ["key", "value"].map(str::to_owned);
        let rows = [["a", "1"], ["long key", "200"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        write(&mut out, Palette::default(), &names, &rows).unwrap();
        let expected =
            "key       value\n────────  ─────\na             1\nlong key    200\n(2 rows)\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_long_field_is_cut_and_a_line_break_keeps_the_row() {
        assert_eq!(short("a\nb"), "a·b");
        assert_eq!(short(&"x".repeat(100)).chars().count(), FIELD_CHARS_MAX + 1);
    }
}
