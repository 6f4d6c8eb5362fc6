//! The REPL at a terminal: what a person sees while typing.

use std::process::Command;
use std::time::Duration;

use kv_testkit::server::TestServer;
use rexpect::session::{PtySession, spawn_command};

use crate::{kv_cli, server};

const PATIENCE_MS: u64 = 20_000;

/// The program at a terminal without colours, which would stand between the letters.
fn terminal(mut command: Command) -> PtySession {
    command.env("NO_COLOR", "1").env("TERM", "xterm").env("COLUMNS", "200");
    spawn_command(command, Some(PATIENCE_MS)).unwrap()
}

fn repl(server: &TestServer) -> PtySession {
    let mut session = terminal(kv_cli(server));
    session.exp_string(&format!("kv {}> ", server.address())).unwrap();
    session
}

fn leave(mut session: PtySession) {
    session.send_line("\\q").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn commands_hints_and_the_prompt() {
    let server = server();
    let mut session = repl(&server);
    // The rest of the syntax is shown while it is typed.
    session.send("PUT house").unwrap();
    session.flush().unwrap();
    session.exp_string("value [id] [EX seconds]").unwrap();
    session.send_line(" large").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line("BEGIN SNAPSHOT").unwrap();
    session.exp_string("OK 1").unwrap();
    session.exp_string("[txn 1 SNAPSHOT]> ").unwrap();
    session.send_line("BEGIN NESTED").unwrap();
    session.exp_string("[txn 2 depth 2 SNAPSHOT]> ").unwrap();
    session.send_line("BEGIN").unwrap();
    session.exp_string("[txn 3 SERIALIZABLE, 3 open]> ").unwrap();
    session.send_line("COMMITALL").unwrap();
    session.exp_string("OK 3").unwrap();
    session.exp_string(&format!("kv {}> ", server.address())).unwrap();
    session.send_line("NONSENSE").unwrap();
    session.exp_string("error: UNKNOWN there is no command").unwrap();
    leave(session);
}

#[test]
fn tab_completes_commands_keys_ids_and_versions() {
    let server = server();
    let mut writer = server.connect();
    writer.ask("PUT household 1");
    writer.ask("PUT household 2");
    let mut session = repl(&server);
    session.send("HIST\t").unwrap();
    session.flush().unwrap();
    session.exp_string("HISTORY ").unwrap();
    session.send("house\t").unwrap();
    session.flush().unwrap();
    session.exp_string("household ").unwrap();
    session.send_line("").unwrap();
    session.exp_string("(2 rows)").unwrap();
    session.send("GET household VERSION \t").unwrap();
    session.flush().unwrap();
    // Both are offered; the longest common beginning is nothing.
    session.send("\t").unwrap();
    session.flush().unwrap();
    session.exp_regex("2 +1").unwrap();
    session.send_line("1").unwrap();
    session.exp_string("\"1\"").unwrap();
    session.send_line("BEGIN").unwrap();
    session.exp_string("[txn 1 SERIALIZABLE]> ").unwrap();
    session.send("COMMIT \t").unwrap();
    session.flush().unwrap();
    session.send_line("").unwrap();
    session.exp_string("OK").unwrap();
    session.exp_string(&format!("kv {}> ", server.address())).unwrap();
    leave(session);
}

#[test]
fn a_quote_that_is_open_goes_on_and_control_c_clears_the_line() {
    let server = server();
    let mut session = repl(&server);
    session.send_line("PUT k \"two").unwrap();
    session.send_line("lines\"").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line("GET k").unwrap();
    session.exp_string("\"two\\nlines\"").unwrap();
    session.send("DEL k").unwrap();
    session.flush().unwrap();
    session.exp_string("DEL k [id]").unwrap();
    session.send_control('c').unwrap();
    // What is typed before the next prompt may be lost, as at any terminal.
    session.exp_string("> ").unwrap();
    session.send_line("GET k").unwrap();
    session.exp_string("\"two\\nlines\"").unwrap();
    session.send_line("PUT k <<EOF").unwrap();
    session.send_line("a \"b\"").unwrap();
    session.send_line("EOF").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line("GET k").unwrap();
    session.exp_string("\"a \\\"b\\\"\"").unwrap();
    leave(session);
}

#[test]
fn control_d_with_an_open_transaction_asks() {
    let server = server();
    let mut session = repl(&server);
    session.send_line("BEGIN").unwrap();
    session.exp_string("[txn 1 SERIALIZABLE]> ").unwrap();
    session.send_control('d').unwrap();
    session.exp_string("1 transaction is open and will be rolled back. Leave? [y/N] ").unwrap();
    session.send_line("n").unwrap();
    session.exp_string("[txn 1 SERIALIZABLE]> ").unwrap();
    session.send_control('d').unwrap();
    session.exp_string("Leave? [y/N] ").unwrap();
    session.send_line("y").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_lost_transaction_is_in_the_prompt_and_nothing_is_sent_until_a_rollback() {
    let directory = tempfile::tempdir().unwrap();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let start = || {
        let mut command = Command::new(kv_testkit::programs::kv_server());
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"]);
        command.arg(directory.path());
        TestServer::start_command(command)
    };
    let server = start();
    let mut session = repl(&server);
    session.send_line("BEGIN").unwrap();
    session.exp_string("[txn 1 SERIALIZABLE]> ").unwrap();
    session.send_line("PUT k 1").unwrap();
    session.exp_string("OK").unwrap();
    server.kill();
    session.send_line("PUT k 2").unwrap();
    session.exp_string("error: TXN_LOST").unwrap();
    session.exp_string("[LOST]> ").unwrap();
    let server = start();
    session.send_line("PUT k 3").unwrap();
    session.exp_string("TXN_LOST nothing was sent").unwrap();
    session.exp_string("[LOST]> ").unwrap();
    let mut observer = server.connect();
    assert_eq!(observer.ask("GET k"), "NIL");
    session.send_line("ROLLBACK").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line("PUT k 4").unwrap();
    session.exp_string("OK").unwrap();
    assert_eq!(observer.ask("GET k"), "\"4\"");
    leave(session);
    drop(observer);
}

#[test]
fn backslash_commands_do_what_they_say() {
    let server = server();
    let mut session = repl(&server);
    session.send_line("\\timing").unwrap();
    session.exp_string("timing is on").unwrap();
    session.send_line("PUT \"my house\" large EX 60").unwrap();
    session.exp_regex("took [0-9.]+ ms").unwrap();
    session.send_line("\\curl").unwrap();
    session.exp_string("curl -s -X PUT --data-binary 'large'").unwrap();
    session.exp_string("/v1/kv/my%20house?ttl=60'").unwrap();
    session.send_line("\\nc").unwrap();
    session.exp_string("| nc -N 127.0.0.1").unwrap();
    session.send_line("\\rust").unwrap();
    session.exp_string("client.put_with(\"my house\", \"large\"").unwrap();
    session.send_line("\\format table").unwrap();
    session.exp_string("\\format table").unwrap();
    session.exp_string("> ").unwrap();
    session.send_line("SCAN").unwrap();
    session.exp_string("my house  large").unwrap();
    session.send_line("\\watch 0.1 COUNT").unwrap();
    session.exp_string("every 0.1 s: COUNT").unwrap();
    session.exp_string("every 0.1 s: COUNT").unwrap();
    session.send_control('c').unwrap();
    session.exp_string(&format!("kv {}> ", server.address())).unwrap();
    session.send_line("\\nonsense").unwrap();
    session.exp_string("there is no \\nonsense").unwrap();
    leave(session);
}

#[test]
fn the_editor_runs_what_it_is_given() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let editor = directory.path().join("editor.sh");
    std::fs::write(&editor, "printf 'PUT edited 1\\nGET edited\\n' > \"$1\"\n").unwrap();
    let mut command = kv_cli(&server);
    command.env("EDITOR", format!("sh {}", editor.display())).env_remove("VISUAL");
    let mut session = terminal(command);
    session.exp_string("> ").unwrap();
    session.send_line("\\e").unwrap();
    session.exp_string("GET edited").unwrap();
    session.exp_string("\"1\"").unwrap();
    leave(session);
}

#[test]
fn the_history_is_private_and_keeps_no_password() {
    use std::os::unix::fs::PermissionsExt;
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let start = || {
        let mut command = kv_cli(&server);
        command.env("KV_HISTORY", &path);
        let mut session = terminal(command);
        session.exp_string("> ").unwrap();
        session
    };
    let mut session = start();
    session.send_line("PUT remembered 1").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line(" PUT unmentioned 1").unwrap();
    session.exp_string("OK").unwrap();
    session.send_line("AUTH ann sesame").unwrap();
    session.exp_string("error:").unwrap();
    leave(session);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("PUT remembered 1"), "{text}");
    assert!(!text.contains("unmentioned") && !text.contains("sesame"), "{text}");
    // Ctrl-R finds what was typed before.
    let mut session = start();
    session.send_control('r').unwrap();
    session.send("remem").unwrap();
    session.flush().unwrap();
    session.exp_string("PUT remembered 1").unwrap();
    session.send_line("").unwrap();
    session.exp_string("OK").unwrap();
    leave(session);
}

#[test]
fn without_a_server_there_is_a_menu_that_starts_one() {
    let directory = tempfile::tempdir().unwrap();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-cli"));
    command.env("KV_SERVER", &address).env("KV_HISTORY", "").current_dir(directory.path());
    // Beside the program, as after an installation.
    assert!(std::path::Path::new(kv_testkit::programs::kv_server()).exists());
    let mut session = terminal(command);
    session.exp_string("start a server here, with its data in").unwrap();
    session.exp_string("kv-data").unwrap();
    session.send_line("s").unwrap();
    let (_, started) = session.exp_regex("started server [0-9]+").unwrap();
    let process: u32 = started.rsplit(' ').next().unwrap().parse().unwrap();
    session.exp_string(&format!("kv {address}> ")).unwrap();
    session.send_line("PUT k 1").unwrap();
    session.exp_string("OK").unwrap();
    leave(session);
    // It goes on without the program that started it, until somebody ends it.
    std::thread::sleep(Duration::from_millis(100));
    assert!(std::net::TcpStream::connect(&address).is_ok());
    kv_testkit::server::signal(process, "TERM");
    kv_testkit::server::eventually("the server ends", || {
        std::net::TcpStream::connect(&address).is_err()
    });
    assert!(directory.path().join("kv-data/server.log").exists());

    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-cli"));
    command.env("KV_SERVER", &address).env("KV_HISTORY", "");
    let mut session = terminal(command);
    session.exp_string("What now? [s/c/q] ").unwrap();
    session.send_line("q").unwrap();
    session.exp_eof().unwrap();
}
