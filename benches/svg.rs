//! Plots as SVG: groups of bars, and lines over a logarithmic axis.
//!
//! A benchmark needs two kinds of plot, which are rectangles and lines; that is less than what a
//! library for plots would have to be told. Every point has a whisker from the least to the most
//! that was measured, so that a plot shows how far to trust it.

use std::fmt::Write as _;

use crate::measure::median;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;
/// How wide a letter is, or less.
const LETTER: f64 = 7.0;
/// Colours that people with any kind of colour vision can tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"];

/// The middle of samples, the least and the most.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    middle: f64,
    least: f64,
    most: f64,
}

impl Point {
    /// Of all samples of one thing; of none, at zero.
    pub fn of(samples: &[f64]) -> Point {
        match samples {
            [] => Point { middle: 0.0, least: 0.0, most: 0.0 },
            _ => Point {
                middle: median(samples),
                least: samples.iter().copied().fold(f64::INFINITY, f64::min),
                most: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            },
        }
    }
}

/// A plot: what stands on its axes, and a series of points for each system.
#[derive(Debug)]
pub struct Plot {
    title: String,
    y_title: String,
    x_title: String,
    /// What stands below the axis, in order.
    labels: Vec<String>,
    series: Vec<(String, Vec<Point>)>,
    is_logarithmic: bool,
}

impl Plot {
    /// An empty plot whose points have these labels.
    pub fn new(
        title: impl Into<String>,
        x_title: impl Into<String>,
        y_title: impl Into<String>,
        labels: Vec<String>,
    ) -> Plot {
        Plot {
            title: title.into(),
            x_title: x_title.into(),
            y_title: y_title.into(),
            labels,
            series: Vec::new(),
            is_logarithmic: false,
        }
    }

    /// Has the values stand at distances of their logarithms: for what differs tenfold and more.
    #[must_use]
    pub fn logarithmic(self) -> Plot {
        Plot { is_logarithmic: true, ..self }
    }

    /// Adds a series, with a point for each label.
    pub fn series(&mut self, name: impl Into<String>, points: Vec<Point>) {
        assert_eq!(points.len(), self.labels.len(), "a series has a point for each label");
        self.series.push((name.into(), points));
    }

    /// A group of bars for each label.
    pub fn bars(&self) -> String {
        let mut out = self.frame();
        let step = (WIDTH - LEFT - RIGHT) / self.labels.len() as f64;
        let bar = step * 0.8 / self.series.len() as f64;
        for (nth, (_, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            for (at, point) in points.iter().enumerate() {
                let x = LEFT + step * (at as f64 + 0.1) + bar * nth as f64;
                let y = self.y(point.middle);
                let height = HEIGHT - BOTTOM - y;
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" \
                     fill=\"{colour}\"/>",
                    bar * 0.92
                );
                self.whisker(&mut out, x + bar * 0.46, point);
            }
        }
        self.x_labels(&mut out, |at| LEFT + step * (at as f64 + 0.5));
        out + "</svg>\n"
    }

    /// A line for each series. The labels are numbers, at distances of their logarithms.
    pub fn lines(&self) -> String {
        let mut out = self.frame();
        let numbers: Vec<f64> =
            self.labels.iter().map(|label| label.parse::<f64>().unwrap().ln()).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        let (from, room) = (LEFT + 24.0, WIDTH - LEFT - RIGHT - 48.0);
        let x = |at: usize| from + room * (numbers[at] - first) / (last - first).max(1e-9);
        for (nth, (_, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            let mut path = String::new();
            for (at, point) in points.iter().enumerate() {
                let (x, y) = (x(at), self.y(point.middle));
                let _ = write!(path, "{x:.1},{y:.1} ");
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
                );
                self.whisker(&mut out, x, point);
            }
            let _ = writeln!(
                out,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"2\"/>"
            );
        }
        self.x_labels(&mut out, x);
        out + "</svg>\n"
    }

    /// Where a value stands.
    fn y(&self, value: f64) -> f64 {
        let room = HEIGHT - TOP - BOTTOM;
        let share = match self.is_logarithmic {
            true => (value / self.at_step(0.0)).log10().max(0.0) / self.steps(),
            false => value / self.at_step(self.steps()),
        };
        HEIGHT - BOTTOM - room * share
    }

    /// The value at the n-th horizontal line.
    fn at_step(&self, nth: f64) -> f64 {
        match self.is_logarithmic {
            true => 10_f64.powf(self.least().log10().floor() + nth),
            false => self.step() * nth,
        }
    }

    /// The least that is there; what was not measured is at zero.
    fn least(&self) -> f64 {
        let points = self.series.iter().flat_map(|(_, points)| points);
        let there = points.map(|point| point.least).filter(|&least| least > 0.0);
        there.fold(f64::INFINITY, f64::min).min(self.most())
    }

    fn most(&self) -> f64 {
        let points = self.series.iter().flat_map(|(_, points)| points);
        points.map(|point| point.most).fold(f64::MIN_POSITIVE, f64::max)
    }

    /// From one horizontal line to the next: 1, 2 or 5 times a power of ten, 3 to 8 of them.
    fn step(&self) -> f64 {
        let power = 10_f64.powf((self.most() / 4.0).log10().floor());
        let fits = |step: &f64| self.most() / step <= 6.0;
        [1.0, 2.0, 5.0, 10.0].map(|of| of * power).into_iter().find(fits).unwrap_or(power)
    }

    fn steps(&self) -> f64 {
        let steps = match self.is_logarithmic {
            true => (self.most() / self.at_step(0.0)).log10(),
            false => self.most() / self.step(),
        };
        steps.ceil().max(1.0)
    }

    /// Everything but the data.
    fn frame(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        text(&mut out, LEFT, 20.0, "start\" font-weight=\"bold\" font-size=\"14", &self.title);
        text(&mut out, 8.0, TOP - 8.0, "start", &self.y_title);
        text(&mut out, WIDTH / 2.0, HEIGHT - 8.0, "middle", &self.x_title);
        for nth in 0..=self.steps() as usize {
            let value = self.at_step(nth as f64);
            let y = self.y(value);
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>",
                WIDTH - RIGHT
            );
            text(&mut out, LEFT - 8.0, y + 4.0, "end", &short(value));
        }
        let mut x = LEFT + 80.0;
        for (nth, (name, _)) in self.series.iter().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
            );
            text(&mut out, x + 17.0, 42.0, "start", name);
            x += 36.0 + LETTER * name.chars().count() as f64;
        }
        out
    }

    fn whisker(&self, out: &mut String, x: f64, point: &Point) {
        let (top, bottom) = (self.y(point.most), self.y(point.least));
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#333\"/>"
        );
    }

    fn x_labels(&self, out: &mut String, x: impl Fn(usize) -> f64) {
        let longest = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let room = (WIDTH - LEFT - RIGHT) / self.labels.len() as f64;
        let is_tight = longest as f64 * LETTER > room;
        for (at, label) in self.labels.iter().enumerate() {
            // Where two would touch, every other one stands lower.
            let lower = if is_tight && at % 2 == 1 { 14.0 } else { 0.0 };
            text(out, x(at), HEIGHT - BOTTOM + 16.0 + lower, "middle", label);
        }
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

/// A number for an axis, as 1.5M or 20k.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", (value / 1e5).round() / 10.0),
        1e3.. => format!("{}k", (value / 1e2).round() / 10.0),
        _ => format!("{}", (value * 1e3).round() / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let labels = ["1", "10", "100"].map(String::from).to_vec();
        let mut plot = Plot::new("Rates <k>", "connections", "commands/s", labels);
        plot.series("one", [[1.0, 3.0, 2.0], [20.0; 3], [30.0; 3]].map(|s| Point::of(&s)).to_vec());
        plot.series("other", vec![Point::of(&[]); 3]);
        plot
    }

    #[test]
    fn bars_and_lines_have_all_points() {
        let bars = plot().bars();
        // The background, two keys of the legend, and six bars.
        assert_eq!(bars.matches("<rect").count(), 1 + 2 + 6);
        assert!(bars.contains("Rates &lt;k>") && bars.ends_with("</svg>\n"));
        let lines = plot().lines();
        assert_eq!((lines.matches("<circle").count(), lines.matches("<polyline").count()), (6, 2));
    }

    #[test]
    fn an_axis_has_round_numbers() {
        assert_eq!((plot().step(), plot().steps()), (5.0, 6.0));
        let shown = [0.0, 0.25, 20_000.0, 1_500_000.0].map(short);
        assert_eq!(shown, ["0", "0.25", "20k", "1.5M"]);
    }

    #[test]
    fn a_logarithmic_axis_has_powers_of_ten() {
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let mut plot = Plot::new("", "", "", labels).logarithmic();
        plot.series("one", vec![Point::of(&[50.0]), Point::of(&[])]);
        plot.series("other", vec![Point::of(&[2_000.0]), Point::of(&[100.0])]);
        assert_eq!((plot.at_step(0.0), plot.steps()), (10.0, 3.0));
        assert!(plot.y(0.0) == HEIGHT - BOTTOM && plot.y(10_000.0) == TOP);
    }
}
