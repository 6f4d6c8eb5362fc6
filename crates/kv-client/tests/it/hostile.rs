//! Servers that answer garbage, at random points, or nothing at all: always an error, in time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kv_client::{Client, Commands, Error, Isolation, Scan};
use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

/// Serves each connection by a function, on a thread of its own; its address.
fn serve(mut answer: impl FnMut(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
        // The listener lives as long as its thread.
        let _ = &mut answer;
    });
    address
}

async fn patient_for_half_a_second(address: &str) -> Result<Client, Error> {
    let half = Duration::from_millis(500);
    let builder = Client::builder(address).connect_timeout(half).reply_timeout(half);
    builder.reconnect_timeout(half).connect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_server_of_ours_is_told_at_once() {
    for greeting in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR unknown\r\n", "\n", "OK\n", "\0\0\0\n"]
    {
        let address = serve(move |mut stream| {
            let _ = stream.write_all(greeting.as_bytes());
        });
        let error = patient_for_half_a_second(&address).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{greeting:?}: {error}");
    }
    let silent = serve(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let error = patient_for_half_a_second(&silent).await.unwrap_err();
    assert!(error.to_string().contains("said nothing"), "{error}");
    let refused = patient_for_half_a_second("127.0.0.1:1").await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused}");
}

/// A server in the middle that cuts, garbles or holds back what the real one says, after so many
/// bytes.
fn meddler(server: String, after_bytes: usize, how: How) -> String {
    serve(move |client| {
        let Ok(upstream) = TcpStream::connect(&server) else { return };
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(std::net::Shutdown::Both);
        });
        let (mut from_server, mut to_client, mut passed) = (upstream, client, 0);
        let mut buf = [0; 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buf) {
            let bytes = &mut buf[..read];
            if passed + read > after_bytes {
                let at = after_bytes.saturating_sub(passed);
                match how {
                    How::Cut => {
                        let _ = to_client.write_all(&bytes[..at]);
                        let _ = to_client.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                    How::Garble => bytes[at..].fill(b'\x07'),
                    How::Hold => {
                        let _ = to_client.write_all(&bytes[..at]);
                        std::thread::sleep(Duration::from_secs(2));
                        return;
                    }
                }
            }
            passed += read;
            if to_client.write_all(bytes).is_err() {
                return;
            }
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum How {
    Cut,
    Garble,
    Hold,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_back_there_is_an_error_and_it_is_true() {
    let server = TestServer::start(kv_server(), &[]);
    let address = server.address().to_string();
    let truth = Client::connect(&address).await.unwrap();
    for how in [How::Cut, How::Garble, How::Hold] {
        for after_bytes in (0..160).step_by(if matches!(how, How::Hold) { 40 } else { 7 }) {
            let meddled = meddler(address.clone(), after_bytes, how);
            let Ok(client) = patient_for_half_a_second(&meddled).await else { continue };
            let key = format!("{how:?}{after_bytes}");
            for n in 0..3 {
                let put = client.put(&key, n).await;
                let is_there =
                    truth.get(&key).await.unwrap().is_some_and(|of| of == *n.to_string());
                match put {
                    Ok(()) => assert!(is_there, "{key}: acknowledged and not there"),
                    Err(Error::OutcomeUnknown { .. } | Error::Protocol(_)) => {}
                    // Said not to have been done.
                    Err(error) => assert!(!is_there, "{key}: {error}"),
                }
            }
            let transaction = client.begin(Isolation::Serializable).await;
            if let Ok(txn) = transaction {
                let put = txn.put(format!("{key}:txn"), "1").await;
                let commit = txn.commit().await;
                let is_there = truth.exists(format!("{key}:txn")).await.unwrap();
                match commit {
                    Ok(()) => assert_eq!(is_there, put.is_ok(), "{key}"),
                    Err(Error::OutcomeUnknown { .. } | Error::Protocol(_)) => {}
                    Err(error) => assert!(!is_there, "{key}: {error}"),
                }
            }
            let mut rows = client.scan(Scan::all());
            while let Ok(Some(_)) = rows.next().await {}
        }
    }
    drop(truth);
}
