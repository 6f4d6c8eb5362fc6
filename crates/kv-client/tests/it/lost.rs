//! Connections that are lost: nothing is done twice, and no transaction's command becomes one of
//! its own.

use std::time::Duration;

use kv_client::{Client, Commands, Error, Isolation, Scan};
use kv_testkit::programs::kv_server;
use kv_testkit::server::{TestServer, signal};

/// A server on a port of its own, that can be started there again.
fn start_at(port: u16, directory: &std::path::Path) -> TestServer {
    let mut command = std::process::Command::new(kv_server());
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(directory);
    TestServer::start_command(command)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_its_server_again_and_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut server = start_at(port, directory.path());
    let client = Client::connect(&format!("127.0.0.1:{port}")).await.unwrap();
    client.put("count", 0).await.unwrap();
    let (mut done, mut unknown) = (0, 0);
    for _ in 0..3 {
        let counting = {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    match client.increment("count", 1).await {
                        Ok(_) => done += 1,
                        Err(error) => return (done, error),
                    }
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        let (acknowledged, error) = counting.await.unwrap();
        done += acknowledged;
        match error {
            Error::OutcomeUnknown { command: "INCR", .. } => unknown += 1,
            // It had not left when the connection was lost, and no other could be made.
            Error::Connect { .. } | Error::Disconnected { .. } => {}
            other => panic!("{other}"),
        }
        // What is asked for while there is no server waits for one.
        let reading = {
            let client = client.clone();
            tokio::spawn(async move { client.get("count").await })
        };
        server = start_at(port, directory.path());
        let count: u64 = reading.await.unwrap().unwrap().unwrap().parse().unwrap();
        assert!((done..=done + unknown).contains(&count), "{count} of {done} and {unknown}");
        done = count;
        unknown = 0;
    }
    drop(client);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_lost_with_its_connection_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = start_at(port, directory.path());
    let client = Client::connect(&format!("127.0.0.1:{port}")).await.unwrap();
    let txn = client.begin(Isolation::Serializable).await.unwrap();
    txn.put("a", "1").await.unwrap();
    let nested = txn.nested().await.unwrap();
    server.kill();
    let server = start_at(port, directory.path());
    client.put("b", "the client is fine").await.unwrap();
    for _ in 0..2 {
        let error = nested.put("a", "2").await.unwrap_err();
        assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
        assert!(error.is_retryable() && error.ends_transaction() && txn.is_doomed());
    }
    let error = nested.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
    let error = txn.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
    assert_eq!(client.count(Scan::all()).await.unwrap(), 1, "nothing was committed by itself");
    drop(client);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_does_not_come_is_an_error_of_its_own() {
    let server = TestServer::start(kv_server(), &[]);
    let client = Client::builder(&server.address().to_string());
    let client = client.reply_timeout(Duration::from_millis(300)).connect().await.unwrap();
    client.put("single", "0").await.unwrap();
    let txn = client.begin(Isolation::Serializable).await.unwrap();
    txn.put("k", "1").await.unwrap();
    let reader = client.begin(Isolation::ReadOnly).await.unwrap();
    reader.get("k").await.unwrap();
    server.signal("STOP");
    let error = txn.commit().await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { command: "COMMIT", .. }), "{error}");
    assert!(!error.is_retryable());
    let error = client.put("single", "1").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { command: "PUT", .. }), "{error}");
    let error = client.get("single").await.unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }) && error.is_retryable(), "{error}");
    let error = reader.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "nothing is unknown: {error}");
    signal(server.process_id(), "CONT");
    // Both came true once the server went on, as an unknown outcome may.
    client.ping().await.unwrap();
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_closure_of_a_lost_transaction_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = std::sync::Mutex::new(Some(start_at(port, directory.path())));
    let client = Client::connect(&format!("127.0.0.1:{port}")).await.unwrap();
    let (server_of, path) = (&server, directory.path());
    client
        .transaction(|txn| async move {
            let is_first = txn.get("k").await?.is_none() && {
                let mut server = server_of.lock().unwrap();
                let is_first =
                    server.as_ref().unwrap().messages().matches("listening").count() == 1;
                if is_first && path.join("again").metadata().is_err() {
                    std::fs::write(path.join("again"), "").unwrap();
                    server.take().unwrap().kill();
                    *server = Some(start_at(port, path));
                    true
                } else {
                    false
                }
            };
            let put = txn.put("k", "v").await;
            assert_eq!(put.is_err(), is_first);
            put
        })
        .await
        .unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    drop(client);
}
