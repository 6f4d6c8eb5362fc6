//! Import and export over the wire: everything comes back, and an interrupted one goes on.

use std::fs;
use std::path::Path;

use kv_testkit::server::TestServer;

use crate::{Ran, run, run_with_input, server};

fn fill(server: &TestServer) {
    let script = concat!(
        "PUT text \"two\\nlines, \\\"quoted\\\"\"\n",
        "PUT \"\\xff\\x00\" \"\\x01\\xfe\"\n",
        "PUT json \"[1,{\\\"a\\\":null}]\" JSON\n",
        "PUT soon 1 EX 3600\n",
        "PUT empty \"\"\n",
    );
    assert!(run_with_input(server, &[], script.as_bytes()).status.success());
}

fn state(server: &TestServer) -> String {
    let metas: String = ["text", "json", "soon", "empty"]
        .map(|key| {
            let meta = run(server, &["--json", "meta", key]).out;
            meta.split(',').filter(|part| part.contains("type")).collect::<String>()
        })
        .concat();
    run(server, &["--ndjson", "scan"]).out + &metas
}

#[test]
fn every_format_brings_everything_back() {
    let from = server();
    fill(&from);
    let directory = tempfile::tempdir().unwrap();
    for ending in ["ndjson", "json", "csv"] {
        let path = directory.path().join(format!("all.{ending}"));
        let path = path.to_str().unwrap();
        let ran = run(&from, &["export", path]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("5 pairs are in"), "{ran:?}");
        let to = server();
        let ran = run(&to, &["import", path]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(state(&to), state(&from), "{ending}");
        let ttl: u64 = run(&to, &["ttl", "soon"]).out.trim().parse().unwrap();
        assert!((3500..=3601).contains(&ttl), "{ttl}");
    }
    let ran = run(&from, &["export", "--prefix", "te"]);
    assert!(ran.out.ends_with("{\"end\":true,\"count\":1}\n"), "{ran:?}");
    let to = server();
    let ran: Ran = run_with_input(&to, &["import"], ran.out.as_bytes()).into();
    assert!(ran.err.contains("1 pairs were read"), "{ran:?}");
    let refused = run(&to, &["import", "--as", "xml"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn an_export_goes_on_behind_its_last_whole_record() {
    let server = server();
    fill(&server);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.ndjson");
    let name = path.to_str().unwrap();
    run(&server, &["export", name]);
    let whole = fs::read_to_string(&path).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 30, whole.len()] {
        fs::write(&path, &whole[..cut]).unwrap();
        let ran = run(&server, &["export", "--resume", name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let again = fs::read_to_string(&path).unwrap();
        // When a key expires is told to the millisecond, and was asked at another time.
        let without_time = |text: &str| {
            let lines = text.lines().map(|line| line.split(",\"expires\"").next().unwrap());
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(without_time(&again), without_time(&whole), "{cut}");
    }
    assert_eq!(run(&server, &["export", "--resume", "--as", "csv", name]).code, 2);
}

fn mark_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("ndjson.imported")
}

#[test]
fn an_import_goes_on_where_it_was_interrupted() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.ndjson");
    let name = path.to_str().unwrap();
    let record = |n: usize| format!("{{\"key\":\"key:{n:03}\",\"value\":\"{n}\"}}\n");
    let good: String = (0..100).map(record).collect();
    fs::write(&path, format!("{}not a record\n", &good)).unwrap();
    let ran = run(&server, &["import", "--batch", "30", name]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("line 101") && ran.err.contains("90 pairs"), "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "90\n", "whole batches only");
    let mark = format!("90 {}\n", server.address());
    assert_eq!(fs::read_to_string(mark_of(&path)).unwrap(), mark);
    let other = crate::server();
    let refused = run(&other, &["import", "--resume", name]);
    assert_eq!(refused.code, 2, "{refused:?}");

    fs::write(&path, format!("{good}{{\"end\":true,\"count\":100}}\n")).unwrap();
    let ran = run(&server, &["import", "--batch", "30", "--resume", name]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "100\n");
    assert_eq!(run(&server, &["meta", "key:000"]).out.split(' ').next(), Some("version=1"));
    assert!(!mark_of(&path).exists(), "what has done its work is gone");
}

#[test]
fn a_file_that_was_cut_off_is_told() {
    let server = server();
    let ran: Ran = run_with_input(&server, &["import"], b"{\"key\":\"a\",\"value\":1}\n").into();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("may have been cut off"), "{ran:?}");
    assert_eq!(
        run(&server, &["--json", "get", "a"]).out,
        "{\"status\":\"Ok\",\"found\":true,\"result\":1}\n"
    );
}
