//! Scripts: where they stop, what is said, what is undone.

use crate::{Ran, kv_cli, run, run_with_input, server};

const SCRIPT: &str =
    "# three good ones around a bad one\nPUT a 1\n\nPUT \"b\nc\" 2\nPUT\nPUT d 4\n";

#[test]
fn a_script_stops_at_its_first_error_with_file_and_line() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script.kv");
    std::fs::write(&path, SCRIPT).unwrap();
    let path = path.to_str().unwrap();
    let ran = run(&server, &["-f", path]);
    assert_eq!((ran.code, &*ran.out), (1, "OK\nOK\n"), "{ran:?}");
    assert!(ran.err.contains(&format!("{path}:6: ARGUMENT PUT needs a key")), "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "2\n");

    let ran = run(&server, &["--continue", "-f", path]);
    assert_eq!((ran.code, &*ran.out), (1, "OK\nOK\nOK\n"), "{ran:?}");
    assert_eq!(run(&server, &["get", "d"]).out, "4");
}

#[test]
fn a_file_can_be_one_transaction() {
    let server = server();
    let ran: Ran = run_with_input(&server, &["--txn"], SCRIPT.as_bytes()).into();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing of the file was done"), "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "0\n");
    let ran = run(&server, &["--txn", "-c", "PUT a 1; PUT b 2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "2\n");
    assert!(run(&server, &["--txn", "--continue", "-c", "PING"]).code == 2);
    let ran = run(&server, &["--txn", "-c", "PUT c 1; COMMIT; PUT d 1"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("nothing of the file was done"), "{ran:?}");
    assert_eq!(run(&server, &["count"]).out, "2\n");
}

#[test]
fn values_are_bytes_both_ways() {
    let server = server();
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for value in [&all[..], b"", b"ends with\n", b"\n"] {
        assert!(run_with_input(&server, &["put", "k", "-x"], value).status.success());
        let read = kv_cli(&server).args(["get", "k"]).output().unwrap();
        assert!(read.stdout == value, "{} bytes", value.len());
    }
    let text = b"PUT page <<END\n<p>\"hi\"</p>\n\nEND\nGET page\n";
    let ran: Ran = run_with_input(&server, &["-f", "-"], text).into();
    assert_eq!(ran.out, "OK\n<p>\"hi\"</p>\n\n");
}

#[test]
fn completions_and_the_man_page_know_the_servers_commands() {
    let server = server();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&server, &["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("showall") && ran.out.contains("export"), "{shell}");
    }
    let page = run(&server, &["man"]).out;
    assert!(page.starts_with(".ie") || page.contains(".TH kv-cli"), "{page}");
    assert!(page.contains("showall") && page.contains("Exit codes"), "{page}");
}
