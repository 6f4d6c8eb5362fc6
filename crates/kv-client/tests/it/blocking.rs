//! The blocking client is the same, one call after the other.

use kv_client::blocking::{Client, Commands};
use kv_client::{Error, Isolation, Put, Reply, Scan};
use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

#[test]
fn everything_has_the_same_name() {
    let server = TestServer::start(kv_server(), &[]);
    let client = Client::connect(&server.address().to_string()).unwrap();
    client.ping().unwrap();
    assert!(client.version().unwrap().contains("kv"));
    client.put("a", "1").unwrap();
    client.put_all([("b", 2, Put::new()), ("c", 3, Put::new())]).unwrap();
    let txn = client.begin(Isolation::Snapshot).unwrap();
    let child = txn.nested().unwrap();
    child.delete("a").unwrap();
    child.commit().unwrap();
    assert_eq!(txn.scan(Scan::all()).count(), 2);
    let token = txn.token().unwrap();
    drop(txn);
    client.attach(&token).unwrap().commit().unwrap();
    let keys: Result<Vec<_>, Error> =
        client.scan(Scan::all()).map(|pair| pair.map(|(key, _)| key)).collect();
    assert_eq!(keys.unwrap(), ["b", "c"]);
    let session = client.session().unwrap();
    assert_eq!(session.send("PING").unwrap(), Reply::Pong);
    assert!(session.is_alive());
}

#[test]
fn threads_share_a_client_and_transactions_are_done_again() {
    let server = TestServer::start(kv_server(), &[]);
    let client = Client::connect(&server.address().to_string()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let added: Result<i64, Error> = client.transaction(|txn| {
                        let count: i64 = match txn.get("count")? {
                            Some(count) => count.parse()?,
                            None => 0,
                        };
                        txn.put("count", count + 1)?;
                        Ok(count + 1)
                    });
                    added.unwrap();
                }
            });
        }
    });
    assert_eq!(client.get("count").unwrap().unwrap(), "100");
}
