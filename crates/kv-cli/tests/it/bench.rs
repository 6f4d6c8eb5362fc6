//! Load and the live view.

use crate::{run, server};

#[test]
fn load_is_measured_and_leaves_nothing() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("latency.svg");
    let keys = ["--keys", "500", "--clients", "2", "--time", "300ms"];
    let words = [&["bench", "--plot", plot.to_str().unwrap()][..], &keys].concat();
    let ran = run(&server, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("closed loop") && ran.out.contains("p99.9 µs"), "{ran:?}");
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.matches("<path").count() > 10);
    assert_eq!(run(&server, &["count"]).out, "0\n");

    let open = ["--rate", "200", "--puts", "0", "--keep", "--in-flight", "3"];
    let ran = run(&server, &[&["--json", "bench"][..], &keys, &open].concat());
    let row = ran.out.trim_end();
    assert!(row.starts_with("{\"command\":\"GET\"") && !row.contains('\n'), "{ran:?}");
    let count: u64 =
        row.split("\"count\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((40..=70).contains(&count), "a rate is kept: {count}");
    assert_eq!(run(&server, &["count"]).out, "500\n");
}

#[test]
fn the_live_view_shows_rates_and_locks() {
    let server = server();
    let mut holder = server.connect();
    holder.ask("BEGIN");
    holder.ask("PUT held 1");
    let ran = run(&server, &["top", "--every", "100ms", "--looks", "2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches("commits/s").count(), 2, "{ran:?}");
    assert!(ran.out.contains("held") && ran.out.contains("exclusive"), "{ran:?}");
}
