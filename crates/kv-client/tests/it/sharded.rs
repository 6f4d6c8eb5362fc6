//! Several servers as one, more of them, and what a transaction may not span.

use std::time::Duration;

use kv_client::sharded::ShardedClient;
use kv_client::{Client, Commands, Error, Isolation, Put, Scan, TimeToLive};
use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

async fn servers(count: usize) -> (Vec<TestServer>, ShardedClient) {
    let servers: Vec<_> = (0..count).map(|_| TestServer::start(kv_server(), &[])).collect();
    let addresses: Vec<String> =
        servers.iter().map(|server| server.address().to_string()).collect();
    let client = ShardedClient::connect(addresses.iter().map(String::as_str)).await.unwrap();
    (servers, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_on_one_server_and_lists_are_of_all() {
    let (servers, client) = servers(3).await;
    let keys = 300;
    client.put_all((0..keys).map(|n| (format!("key:{n:03}"), n, Put::new()))).await.unwrap();
    let mut counts = Vec::new();
    for server in &servers {
        let of_one = Client::connect(&server.address().to_string()).await.unwrap();
        counts.push(of_one.count(Scan::all()).await.unwrap());
    }
    assert_eq!(counts.iter().sum::<u64>(), keys as u64);
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
    assert_eq!(client.count(Scan::all()).await.unwrap(), keys as u64);
    let all = client.scan(Scan::prefix("key:")).collect().await.unwrap();
    assert_eq!(all.len(), keys);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let some = client.page(Scan::all().limit(10)).await.unwrap();
    assert_eq!(some[9].0, "key:009");
    let near = client.nearest(100.2, 3, "").await.unwrap();
    let near: Vec<_> = near.iter().map(|(_, value)| value.to_str().unwrap()).collect();
    assert_eq!(near, ["100", "101", "99"]);
    assert_eq!(client.increment("key:000", 5).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_stays_on_one_server() {
    let (_servers, client) = servers(3).await;
    client
        .transaction(|txn| async move {
            txn.put("{ann}:name", "Ann").await?;
            assert_eq!(txn.get("{ann}:name").await?.unwrap(), "Ann");
            txn.increment("{ann}:visits", 1).await.map(drop)
        })
        .await
        .unwrap_or_else(|error: Error| panic!("{error}"));
    assert_eq!(client.get("{ann}:name").await.unwrap().unwrap(), "Ann");

    let home = client.server_of("first");
    let other = (0..).map(|n| format!("other:{n}")).find(|key| client.server_of(key) != home);
    let other = &other.unwrap();
    let result: Result<(), Error> = client
        .transaction(|txn| async move {
            txn.put("first", "1").await?;
            txn.put(other, "2").await
        })
        .await;
    let error = result.unwrap_err();
    assert!(matches!(error, Error::CrossServer { .. }), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(client.get("first").await.unwrap(), None, "nothing of it was done");

    let txn = client.begin(Isolation::Serializable);
    txn.put("first", "1").await.unwrap();
    assert_eq!(txn.count(Scan::all()).await.unwrap_err().code(), "CLIENTARGUMENT");
    txn.commit().await.unwrap();
    client.begin(Isolation::Snapshot).commit().await.unwrap();
    assert_eq!(client.get("first").await.unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_gets_its_share_and_keys_keep_what_they_are() {
    let (_servers, client) = servers(3).await;
    let more = TestServer::start(kv_server(), &[]);
    let keys = 1000;
    let hour = Duration::from_secs(3600);
    let put = Put::new().expires_after(hour);
    client.put_all((0..keys).map(|n| (format!("key:{n}"), n, put))).await.unwrap();
    client.put("json", kv_client::Json([1, 2])).await.unwrap();
    let before: Vec<String> = (0..keys).map(|n| client.server_of(format!("key:{n}"))).collect();
    let address = more.address().to_string();
    let json_was_at = client.server_of("json");
    client.add_server(&address).await.unwrap();
    assert!(client.add_server(&address).await.is_err());

    // Keys that have not moved yet are found, changed and deleted where they are.
    let moving: Vec<usize> =
        (0..keys).filter(|n| client.server_of(format!("key:{n}")) != before[*n]).collect();
    assert!((keys / 8..keys / 2).contains(&moving.len()), "{} moved", moving.len());
    assert!(moving.iter().all(|n| client.server_of(format!("key:{n}")) == address));
    let of = |at: usize| format!("key:{}", moving[at]);
    assert_eq!(client.get(of(0)).await.unwrap().unwrap(), *moving[0].to_string());
    client.increment(of(1), 1_000_000).await.unwrap();
    assert!(client.delete(of(2)).await.unwrap());
    let visited = of(3);
    let visited = &visited;
    client
        .transaction(|txn| async move { txn.put(visited, "in a transaction").await })
        .await
        .unwrap_or_else(|error: Error| panic!("{error}"));

    let mut told = 0;
    let done = client.rebalance(|progress| told = progress.keys).await.unwrap();
    assert_eq!(told, done.keys);
    // The other four were moved when they were used.
    let moved = moving.len() - 4 + usize::from(client.server_of("json") != json_was_at);
    assert_eq!(done.moved as usize, moved);
    let on_it = Client::connect(&address).await.unwrap();
    let count = on_it.count(Scan::prefix("key:")).await.unwrap();
    assert_eq!(count as usize, moving.len() - 1);
    assert_eq!(client.get(of(2)).await.unwrap(), None, "what was deleted stays so");
    assert_eq!(client.get(of(3)).await.unwrap().unwrap(), "in a transaction");
    assert_eq!(client.count(Scan::prefix("key:")).await.unwrap() as usize, keys - 1);
    assert!(
        matches!(client.time_to_live(of(4)).await.unwrap(), TimeToLive::Left(left) if left <= hour)
    );
    assert!(client.meta("json").await.unwrap().unwrap().json);
    assert_eq!(client.rebalance(|_| {}).await.unwrap().moved, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_named_once() {
    assert!(ShardedClient::connect([]).await.is_err());
    assert!(ShardedClient::connect(["a:1", "a:1"]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_many_move_at_once_is_not_lost() {
    let (_servers, client) = servers(2).await;
    let more = TestServer::start(kv_server(), &[]);
    let keys = 40;
    client.put_all((0..keys).map(|n| (format!("key:{n}"), n, Put::new()))).await.unwrap();
    client.add_server(&more.address().to_string()).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..keys {
                    let key = format!("key:{n}");
                    match task {
                        0 => client.increment(&key, 1000).await.map(drop).unwrap(),
                        _ => assert!(client.get(&key).await.unwrap().is_some(), "{key}"),
                    }
                }
            })
        })
        .collect();
    client.rebalance(|_| {}).await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    for n in 0..keys {
        let value = client.get(format!("key:{n}")).await.unwrap().unwrap();
        assert_eq!(value, *(n + 1000).to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_has_ended_begins_no_other() {
    let (_servers, client) = servers(2).await;
    let txn = client.begin(Isolation::Serializable);
    txn.put("k", "1").await.unwrap();
    let late = txn.clone();
    txn.commit().await.unwrap();
    assert_eq!(late.put("k", "2").await.unwrap_err().code(), "CLIENTARGUMENT");
    late.commit().await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "1");
}
