//! Tables in Markdown, with columns that line up on a terminal too.

use std::fmt;

use crate::measure::median;

/// A cell: the median of samples, the least and the greatest.
pub fn range(samples: &[f64]) -> String {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.0} ({least:.0} to {most:.0})", median(samples))
}

/// A table under a title.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. The first column is text, the others are figures.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Table {
        let heading = columns.iter().map(|&column| column.to_owned()).collect();
        Table { title: title.into(), rows: vec![heading] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n{self}");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|at| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match at {
                    0 => write!(f, "| {cell:<width$} ")?,
                    _ => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for (at, &width) in widths.iter().enumerate() {
                    let end = if at == 0 { '-' } else { ':' };
                    write!(f, "|-{}{end}", "-".repeat(width))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends() {
        assert_eq!(range(&[3.0, 1.0, 2.0]), "2 (1 to 3)");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("Speed", &["what", "ns"]);
        table.row(["get".into(), "1234".into()]);
        let lines = ["Speed", "", "| what |   ns |", "|------|-----:|", "| get  | 1234 |", ""];
        assert_eq!(table.to_string(), lines.join("\n"));
    }
}
