//! How the program starts, or says why it does not.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use kv_testkit::server::{TestServer, eventually};

use crate::{PROGRAM, converse, server};

/// Runs the program with flags that it does not start with.
fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } = Command::new(PROGRAM).args(flags).output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_settings_are_refused_with_code_2() {
    for (flags, text) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["nonsense"], "nonsense"),
        (&["--lock-timeout", "5"], "expected a duration"),
        (&["--lock-timeout", "0"], "lock-timeout"),
        (&["--max-key", "65kb"], "max-key"),
        (&["--max-value", "1mb", "--max-line", "1mb"], "--max-line 1mb is too small"),
        (&["--listen", "example.org:80"], "listen"),
        (&["--listen", "127.0.0.1"], "listen"),
        (&["--disable", "NONSENSE"], "disable"),
        (&["--config", "/nonexistent/kv.toml"], "/nonexistent/kv.toml"),
        (&["--max-session-transactions", "5", "--max-transactions", "4"], "--max-transactions 4"),
        (&["--history", "0"], "history"),
        (&["--in-memory", "--data-dir", "/nonexistent"], "--data-dir has no meaning"),
        (&["--max-log", "1mb"], "--max-log 1mb is too small"),
        (&["--backup-dir", "kv-data/backups"], "is within --data-dir ./kv-data"),
        (&["verify", "--in-memory"], "verify works on a data directory"),
        (&["repair"], "--into"),
        (&["repair", "--into", "kv-data/new"], "is within --data-dir ./kv-data"),
        (&["import"], "<FILE>"),
        (&["import", "pairs.txt"], "its name does not say its format"),
        (&["export", "--format", "xml"], "expected one of ndjson, json, csv"),
    ] {
        let (code, stderr) = refused(flags);
        assert_eq!(code, Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(text), "{flags:?}: {stderr}");
        assert!(!stderr.contains("listening"), "{flags:?}: {stderr}");
    }
}

#[test]
fn a_port_in_use_is_a_fault_that_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // A log level does not decide whether one learns why a server is not there.
    for level in ["info", "error", "off"] {
        let flags = ["--in-memory", "--log-level", level, "--listen"];
        let both = [&flags[..], &["127.0.0.1:0", "--listen", &address]].concat();
        for flags in [[&flags[..], &[&*address]].concat(), both] {
            let (code, stderr) = refused(&flags);
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains(&address), "{level}: {stderr}");
            assert!(stderr.contains("choose another with --listen"), "{level}: {stderr}");
            assert!(!stderr.contains("listening on"), "{level}: {stderr}");
        }
    }
}

#[test]
fn help_and_version_are_no_faults() {
    for flag in ["--help", "-h", "--version"] {
        let output = Command::new(PROGRAM).arg(flag).output().unwrap();
        assert!(output.status.success());
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn one_connection_too_many_is_told_so_in_one_line() {
    let server = server(&["--max-connections", "3"]);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "PONG");
    }
    for _ in 0..20 {
        let mut refused = server.connect();
        let _ = refused.try_send_raw("PUT refused 1\nQUIT\n");
        let reply = refused.read_line();
        assert!(reply.starts_with("ERR LIMIT ") && reply.contains('3'), "{reply}");
        assert_eq!(refused.read_line_or_end(), None);
    }
    let first = clients.remove(0);
    drop(first);
    // There is room again as soon as one has gone.
    eventually("there is room again", || server.connect().ask("PING") == "PONG");
    converse(&mut clients[0], &[("COUNT", "0")]);
    server.wait_for_message("too many connections");
    assert_eq!(server.messages().matches("too many connections").count(), 1);
}

#[test]
fn a_socket_file_is_served_and_removed() {
    let directory = std::env::temp_dir().join(format!("kv-it-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("kv.sock");
    let endpoint = format!("unix:{}", path.display());
    let talk = |server: &TestServer| {
        assert!(server.messages().contains(&format!("listening on {endpoint} (lines, RESP)")));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"PUT a 1\nBEGIN\nPUT b 1\nGET a\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut replies = String::new();
        client.read_to_string(&mut replies).unwrap();
        assert_eq!(replies, "OK\nOK 1\nOK\n\"1\"\n");
        // It is the same store on all addresses.
        converse(&mut server.connect(), &[("GET a", "\"1\""), ("GET b", "NIL")]);
    };
    // The TCP address is announced last, so that both are known then.
    let start = || {
        let mut command = Command::new(PROGRAM);
        command.args(["--in-memory", "--listen", &endpoint, "--listen", "127.0.0.1:0"]);
        TestServer::start_command(command)
    };
    let mut first = start();
    eventually("both are announced", || first.messages().contains("unix:"));
    talk(&first);
    let (code, stderr) = refused(&["--in-memory", "--listen", &endpoint]);
    assert_eq!(code, Some(1), "{stderr}");
    first.signal("KILL");
    first.wait_for_exit();
    assert!(path.exists(), "a server that was killed leaves its file behind");
    let mut second = start();
    talk(&second);
    second.signal("TERM");
    assert!(second.wait_for_exit().success());
    assert!(!path.exists());
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn what_is_disabled_does_not_exist() {
    let server = server(&["--disable", "SHOWALL,incr", "--disable", "INFO"]);
    let mut client = server.connect();
    for request in ["SHOWALL", "showall 1", "INCR a", "STATS", "INFO"] {
        let reply = client.ask(request);
        assert!(reply.starts_with("ERR UNKNOWN "), "{request}: {reply}");
    }
    converse(&mut client, &[("EXISTS a", "0"), ("PUT a 1", "OK"), ("COUNT", "1")]);
}

/// As if it did not exist: not explained either, and not complained of when it is used wrongly.
#[test]
fn what_is_disabled_leaves_no_trace() {
    let server = server(&["--disable", "INCR"]);
    let mut client = server.connect();
    let reply = client.ask("INCR");
    assert!(reply.starts_with("ERR UNKNOWN "), "{reply}");
    let help = client.ask_list("HELP").join("\n");
    assert!(help.contains("COUNT") && !help.contains("INCR"), "{help}");
    assert!(client.ask("HELP INCR").starts_with("ERR "), "nor is it explained");
}

#[test]
fn settings_come_from_the_environment_too() {
    let mut command = Command::new(PROGRAM);
    command.env("KV_IN_MEMORY", "true").env("KV_LISTEN", "127.0.0.1:0");
    command.env("KV_LOCK_TIMEOUT", "1ms").env("KV_HISTORY", "1");
    let server = TestServer::start_command(command);
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut client, &[("PUT a 1", "OK"), ("PUT a 2", "OK"), ("BEGIN", "OK 1")]);
    assert!(client.ask("GET a VERSION 1").starts_with("ERR PRUNED "));
    assert_eq!(client.ask("PUT a 3"), "OK");
    assert!(other.ask("PUT a 4").starts_with("ERR TIMEOUT "));
}
