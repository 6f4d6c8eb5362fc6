//! The latencies of a run as a picture: how many microseconds (logarithmic) at which share of the
//! commands, with more and more room for the slowest ones.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 50.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 20.0;
/// The share of the slowest that is still drawn: one of 10,000.
const NINES_MAX: f64 = 4.0;
const STEPS: u32 = 200;
const COLOURS: [&str; 2] = ["#2563eb", "#dc2626"];

/// A picture of these latencies in microseconds.
pub(super) fn picture(series: &[(&str, &Histogram<u64>)]) -> String {
    let series: Vec<_> = series.iter().filter(|(_, seen)| !seen.is_empty()).collect();
    let most = series.iter().map(|(_, seen)| seen.max()).max().unwrap_or(1).max(10);
    let decades = (most as f64).log10().ceil();
    let x = |nines: f64| LEFT + (WIDTH - LEFT - RIGHT) * nines / NINES_MAX;
    let y = |us: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * us.max(1.0).log10() / decades;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">Latency by share of commands</text>\n"
    );
    let mut draw = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    for decade in 0..=decades as i32 {
        let us = 10_f64.powi(decade);
        let at = y(us);
        draw(format!("<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - RIGHT));
        let label = if us < 1000.0 { format!("{us} µs") } else { format!("{} ms", us / 1000.0) };
        draw(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    for (nines, label) in [
        (0.0, "0"),
        (0.301, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
    ] {
        let at = x(nines);
        draw(format!("<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/>", HEIGHT - BOTTOM));
        draw(format!(
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - BOTTOM + 18.0
        ));
    }
    for ((name, seen), (at, colour)) in series.iter().zip(COLOURS.iter().enumerate()) {
        let mut path = String::new();
        for step in 0..=STEPS {
            let nines = NINES_MAX * f64::from(step) / f64::from(STEPS);
            let us = seen.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64;
            let letter = if step == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(nines), y(us));
        }
        draw(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        let top = TOP + 14.0 + 16.0 * at as f64;
        draw(format!("<text x=\"{}\" y=\"{top:.1}\" fill=\"{colour}\">{name}</text>", LEFT + 10.0));
    }
    svg + "</svg>\n"
}
