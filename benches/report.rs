//! A report in Markdown, with plots beside it, that grows while a benchmark runs.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::table::Table;

/// A report. Everything in it is printed too; the file is written at the end of each part, so that
/// a run which was broken off has left what it found.
#[derive(Debug)]
pub struct Report {
    dir: PathBuf,
    text: String,
}

impl Report {
    /// An empty report in a directory, which is made if it is not there.
    pub fn new(dir: PathBuf, title: &str) -> Report {
        fs::create_dir_all(&dir).unwrap();
        Report { dir, text: format!("# {title}\n") }
    }

    /// Begins a part.
    pub fn part(&mut self, title: &str) {
        self.add(&format!("## {title}\n"));
    }

    /// Adds a paragraph.
    pub fn say(&mut self, words: &str) {
        self.add(&format!("{}\n", words.trim()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.add(&table.to_string());
    }

    /// Adds a plot, as a file of its own.
    pub fn plot(&mut self, name: &str, svg: &str) {
        fs::write(self.dir.join(name).with_extension("svg"), svg).unwrap();
        self.add(&format!("![{name}]({name}.svg)\n"));
    }

    /// Writes what there is.
    pub fn save(&self) {
        let path = self.dir.join("report.md");
        fs::write(&path, &self.text).unwrap();
        println!("\nThe report so far: {}", path.display());
    }

    fn add(&mut self, block: &str) {
        println!("\n{}", block.trim_end());
        let _ = write!(self.text, "\n{block}");
    }
}

/// What a figure depends on and a table does not tell: the processor, its cores, the kernel, and
/// how busy the machine is.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let busy = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    format!(
        "{cores} cores ({}), {} of memory, Linux {}; load average before the run {busy}.",
        field(&read("/proc/cpuinfo"), "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::scratch;

    #[test]
    fn a_report_has_its_parts_and_plots() {
        let dir = scratch("report-test");
        let mut report = Report::new(dir.path().join("below"), "Title");
        report.part("Part");
        report.say(" words ");
        report.plot("rates", "<svg/>");
        report.save();
        let text = fs::read_to_string(dir.path().join("below/report.md")).unwrap();
        assert_eq!(text, "# Title\n\n## Part\n\nwords\n\n![rates](rates.svg)\n");
        assert!(dir.path().join("below/rates.svg").is_file());
    }
}
