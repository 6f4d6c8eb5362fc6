//! Transactions: what is committed, what is undone, what is done again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kv_client::{Begin, Client, Commands, Error, ErrorCode, Isolation, Scan};
use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

use crate::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_keeps_and_everything_else_undoes() {
    let (_server, client) = start().await;
    let txn = client.begin(Isolation::Serializable).await.unwrap();
    txn.put("kept", "1").await.unwrap();
    assert_eq!(client.begin(Isolation::Snapshot).await.unwrap().get("kept").await.unwrap(), None);
    txn.commit().await.unwrap();
    assert_eq!(client.get("kept").await.unwrap().unwrap(), "1");

    let txn = client.begin(Isolation::Snapshot).await.unwrap();
    txn.put("undone", "1").await.unwrap();
    txn.rollback().await.unwrap();
    let txn = client.begin(Isolation::Serializable).await.unwrap();
    txn.put("dropped", "1").await.unwrap();
    drop(txn);
    // Waits for the locks of what was dropped, if there were any left.
    client.put("dropped", "2").await.unwrap();
    assert_eq!(client.get("undone").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_ones_hand_over_or_undo_only_themselves() {
    let (_server, client) = start().await;
    let root = client.begin(Isolation::Serializable).await.unwrap();
    root.put("root", "1").await.unwrap();
    let child = root.nested().await.unwrap();
    child.put("child", "1").await.unwrap();
    let grandchild = child.nested().await.unwrap();
    grandchild.put("grandchild", "1").await.unwrap();
    drop(grandchild);
    assert_eq!(child.get("grandchild").await.unwrap(), None);
    child.commit().await.unwrap();
    let other = root.nested().await.unwrap();
    other.delete("root").await.unwrap();
    other.rollback().await.unwrap();
    assert_eq!(root.scan(Scan::all()).collect().await.unwrap().len(), 2);
    root.commit().await.unwrap();
    assert_eq!(client.count(Scan::all()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_go_back_and_are_used_again() {
    let server = TestServer::start(kv_server(), &[]);
    let address = server.address().to_string();
    let client = Client::builder(&address).connections_max(1);
    let client = client.reply_timeout(Duration::from_millis(300)).connect().await.unwrap();
    for round in 0..20 {
        let txn = client.begin(Isolation::Serializable).await.unwrap();
        txn.put("k", round).await.unwrap();
        match round % 3 {
            0 => txn.commit().await.unwrap(),
            1 => txn.rollback().await.unwrap(),
            _ => drop(txn),
        }
    }
    let stats = client.stats().await.unwrap();
    let begun = &stats.iter().find(|(name, _)| name == "sessions_begun").unwrap().1;
    assert_eq!(begun, "2", "one for single commands, one for all transactions");

    let held = client.begin(Isolation::Serializable).await.unwrap();
    let error = client.begin(Isolation::Serializable).await.unwrap_err();
    assert!(matches!(error, Error::Busy { connections_max: 1, .. }), "{error}");
    assert!(error.is_retryable());
    drop(held);
    client.begin(Isolation::Serializable).await.unwrap();
}

/// Two transactions that read the same and both write it: one is aborted and done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_aborted_is_done_again_until_it_commits() {
    let (_server, client) = start().await;
    client.put("count", 0).await.unwrap();
    let attempts = std::sync::Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (client, attempts) = (client.clone(), attempts.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    client
                        .transaction(|txn| {
                            attempts.fetch_add(1, Ordering::Relaxed);
                            async move {
                                let count: u64 = txn.get("count").await?.unwrap().parse()?;
                                tokio::task::yield_now().await;
                                txn.put("count", count + 1).await
                            }
                        })
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(client.get("count").await.unwrap().unwrap(), "160");
    assert!(attempts.load(Ordering::Relaxed) > 160, "there was contention");
}

/// An error of the caller's own type, which says nothing of what the server said.
#[derive(Debug)]
struct Opaque;

impl From<Error> for Opaque {
    fn from(_: Error) -> Self {
        Opaque
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_own_errors_roll_back_and_do_not_hide_an_abort() {
    let (_server, client) = start().await;
    let attempts = AtomicU32::new(0);
    let result: Result<(), Opaque> = client
        .transaction(|txn| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                txn.put("k", "never").await?;
                Err(Opaque)
            }
        })
        .await;
    assert!(result.is_err());
    assert_eq!(attempts.load(Ordering::Relaxed), 1, "its own error is not tried again");
    assert_eq!(client.get("k").await.unwrap(), None);

    // Somebody commits between the read and the write of a snapshot: CONFLICT.
    let attempts = AtomicU32::new(0);
    let done: Result<(), Opaque> = client
        .transaction_with(Isolation::Snapshot, |txn| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            let client = client.clone();
            async move {
                txn.get("k").await?;
                if attempt == 0 {
                    client.put("k", "somebody else's").await?;
                }
                Ok(txn.put("k", "mine").await?)
            }
        })
        .await;
    assert!(done.is_ok());
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(client.get("k").await.unwrap().unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_bounded() {
    let (_server, client) = start().await;
    let address = client.address();
    let client = Client::builder(&address).attempts_max(3).connect().await.unwrap();
    let attempts = AtomicU32::new(0);
    let result: Result<(), Error> = client
        .transaction_with(Isolation::Snapshot, |txn| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            let client = client.clone();
            async move {
                txn.get("k").await?;
                client.put("k", attempt).await?;
                txn.put("k", "mine").await
            }
        })
        .await;
    assert_eq!(result.unwrap_err().server_code(), Some(ErrorCode::Conflict));
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_does_not_wait_for_its_own_command() {
    let (_server, client) = start().await;
    let holder = client.begin(Isolation::Serializable).await.unwrap();
    holder.put("k", "1").await.unwrap();
    let waiter = client.begin(Isolation::Serializable).await.unwrap();
    waiter.put("other", "1").await.unwrap();
    let late = tokio::time::timeout(Duration::from_millis(50), waiter.put("k", "2")).await;
    assert!(late.is_err(), "it waits for a lock");
    drop(waiter);
    // Its lock is free at once, long before its wait for the other one would have ended.
    let soon = Begin::new(Isolation::Serializable).waits_for_locks(Duration::from_millis(500));
    let third = client.begin(soon).await.unwrap();
    third.put("other", "3").await.unwrap();
    third.commit().await.unwrap();
    holder.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_at_a_revision_and_errors_of_single_commands() {
    let (_server, client) = start().await;
    client.put("k", "old").await.unwrap();
    let revision = client.history("k", 1).await.unwrap()[0].revision;
    client.put("k", "new").await.unwrap();
    let past = client.begin(Begin::new(Isolation::ReadOnly).at_revision(revision)).await.unwrap();
    assert_eq!(past.get("k").await.unwrap().unwrap(), "old");
    let error = past.put("k", "x").await.unwrap_err();
    assert_eq!(error.server_code(), Some(ErrorCode::ReadOnly));
    assert!(!error.ends_transaction() && !past.is_doomed());
    assert_eq!(past.get("k").await.unwrap().unwrap(), "old");
    past.commit().await.unwrap();
    let error = client.begin(Begin::new(Isolation::Snapshot).at_revision(1)).await.unwrap_err();
    assert_eq!(error.server_code(), Some(ErrorCode::Argument));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_closure_has_committed_itself_is_not_done_again() {
    let (_server, client) = start().await;
    let attempts = AtomicU32::new(0);
    let retryable = Error::Disconnected { reason: "somewhere else".to_owned() };
    let retryable = &std::sync::Mutex::new(Some(retryable));
    let result: Result<(), Error> = client
        .transaction(|txn| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                txn.increment("count", 1).await?;
                txn.commit().await?;
                Err(retryable.lock().unwrap().take().unwrap())
            }
        })
        .await;
    assert!(result.unwrap_err().is_retryable());
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    assert_eq!(client.get("count").await.unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_leads_to_it_from_anywhere() {
    let (server, client) = start().await;
    let txn = client.begin(Isolation::Snapshot).await.unwrap();
    txn.put("k", "1").await.unwrap();
    let child = txn.nested().await.unwrap();
    child.put("child", "1").await.unwrap();
    let token = child.token().await.unwrap();
    assert_eq!(txn.token().await.unwrap(), token, "the tree has one");
    // Neither of them ends it.
    drop((child, txn));
    let other = Client::connect(&server.address().to_string()).await.unwrap();
    let child = other.attach(&token).await.unwrap();
    assert_eq!(child.get("child").await.unwrap().unwrap(), "1");
    child.commit().await.unwrap();
    let root = other.attach(&token).await.unwrap();
    assert_eq!(root.scan(Scan::all()).collect().await.unwrap().len(), 2);
    assert_eq!(client.get("k").await.unwrap(), None);
    root.commit().await.unwrap();
    assert_eq!(client.count(Scan::all()).await.unwrap(), 2);
    let unknown = client.attach(&token).await.unwrap_err();
    assert_eq!(unknown.server_code(), Some(ErrorCode::NoTransaction), "{unknown}");
    // Ended by a rollback, it is gone for whoever else has it.
    let one = client.begin(Isolation::Serializable).await.unwrap();
    let two = other.attach(&one.token().await.unwrap()).await.unwrap();
    two.rollback().await.unwrap();
    let over = one.put("k", "2").await.unwrap_err();
    assert_eq!(over.server_code(), Some(ErrorCode::NoTransaction), "{over}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_a_lost_connection_loses_nothing() {
    let (server, client) = start().await;
    let txn = client.begin(Isolation::Serializable).await.unwrap();
    txn.put("k", "1").await.unwrap();
    let token = txn.token().await.unwrap();
    // All connections are cut; what has a token is none.
    let mut operator = server.connect();
    operator.send_raw("*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n");
    let bytes: usize = operator.read_line().trim_end()[1..].parse().unwrap();
    let mut listed = String::new();
    while listed.len() < bytes {
        listed += &operator.read_line();
        listed.push('\n');
    }
    operator.read_line();
    for row in listed.lines().filter(|row| !row.contains("laddr=detached")) {
        let id = row.split(' ').next().unwrap().trim_start_matches("id=");
        operator.send_raw(format!(
            "*4\r\n$6\r\nCLIENT\r\n$4\r\nKILL\r\n$2\r\nID\r\n${}\r\n{id}\r\n",
            id.len()
        ));
    }
    let error = loop {
        match txn.get("k").await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
    assert!(!txn.is_doomed());
    let again = client.attach(&token).await.unwrap();
    assert_eq!(again.get("k").await.unwrap().unwrap(), "1");
    again.commit().await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "1");
}
