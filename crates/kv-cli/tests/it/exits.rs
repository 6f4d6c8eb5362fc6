//! Every exit code.

use std::time::Duration;

use kv_testkit::server::eventually;

use crate::{Ran, kv_cli, run, run_with_input, server};

#[test]
fn every_exit_code_has_its_reason() {
    let server = server();
    let codes = [
        (0, vec!["put", "k", "v"], "OK", ""),
        (0, vec!["get", "k"], "v", ""),
        (5, vec!["get", "none"], "", ""),
        (5, vec!["del", "none"], "", ""),
        (5, vec!["--json", "get", "none"], "\"found\":false", ""),
        (0, vec!["exists", "none"], "0", ""),
        (1, vec!["nonsense"], "", "UNKNOWN there is no command \"nonsense\""),
        (1, vec!["put", "k"], "", "ARGUMENT PUT needs a value"),
        (6, vec!["put", "k", "v", "if", "version", "7"], "", "PRECONDITION"),
        (2, vec!["--nonsense"], "", "unexpected argument"),
        (2, vec!["get", "k", "--json"], "", "options come before it"),
        (2, vec!["-s", "kvs://host", "get", "k"], "", "TLS"),
        (2, vec!["-c", "GET k", "-f", "file"], "", "cannot be used with"),
        (3, vec!["-s", "127.0.0.1:1", "get", "k"], "", "cannot connect to 127.0.0.1:1"),
        (1, vec!["-f", "/nowhere"], "", "/nowhere: No such file"),
        (0, vec!["--help"], "Exit codes:", ""),
        (0, vec!["--version"], "kv-cli ", ""),
    ];
    for (code, words, out, err) in codes {
        let mut command = kv_cli(&server);
        if words.contains(&"-s") {
            command.env_remove("KV_SERVER");
        }
        let ran: Ran = command.args(&words).output().unwrap().into();
        assert_eq!(ran.code, code, "{words:?}: {ran:?}");
        assert!(ran.out.contains(out) && ran.err.contains(err), "{words:?}: {ran:?}");
        assert_eq!(ran.err.is_empty(), err.is_empty(), "{words:?}: {ran:?}");
    }
}

#[test]
fn a_server_that_lets_nobody_in_is_code_4() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 256];
        let _ = stream.read(&mut buf);
        stream.write_all(b"ERR NOAUTH the password is wrong\n").unwrap();
        let _ = stream.read(&mut buf);
    });
    let server = server();
    let address = format!("kv://ann:wrong@{address}");
    let mut command = kv_cli(&server);
    let ran: Ran = command.env("KV_SERVER", address).args(["get", "k"]).output().unwrap().into();
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(!ran.err.contains("wrong@") && ran.err.contains("the password is wrong"), "{ran:?}");
}

#[test]
fn another_transaction_in_the_way_is_code_6() {
    let server = server();
    let mut holder = server.connect();
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    let ran = run(&server, &["-c", "BEGIN WAIT 50ms; PUT k 2"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("-c:1: TIMEOUT"), "{ran:?}");
    holder.ask("ROLLBACK");
}

#[test]
fn a_lost_transaction_is_code_7_and_nothing_is_done_by_itself() {
    let server = server();
    let mut script = kv_cli(&server);
    script.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = script.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    use std::io::Write;
    stdin.write_all(b"BEGIN\nPUT k 1\n").unwrap();
    let mut observer = server.connect();
    eventually("the transaction is open", || {
        observer.ask_list("STATS").iter().any(|row| row == "transactions_open=1")
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(observer);
    server.kill();
    stdin.write_all(b"PUT k 2\n").unwrap();
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("standard input:3: TXN_LOST"), "{ran:?}");
}

#[test]
fn a_pipe_is_a_script() {
    let server = server();
    let ran: Ran = run_with_input(&server, &[], b"PUT a 1\nGET a\nGET none\nGET a\n").into();
    assert_eq!((ran.code, &*ran.out), (0, "OK\n1\n\n1\n"));
}

#[test]
fn a_reader_that_has_read_enough_is_no_fault() {
    let server = server();
    let script = "PING\n".repeat(200_000);
    let mut command = kv_cli(&server);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let _ = stdin.write_all(script.as_bytes());
    });
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
