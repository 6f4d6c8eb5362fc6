//! Money moves between accounts from many tasks at once, over the network.
//!
//! Shows `transaction`, which does a transfer again when another one was in the way; errors of
//! one's own, which roll back and are not tried again; and a consistent sum while it all happens.

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::fmt;

use kv_client::{Client, Commands, Error, Isolation, Put, Scan};

const ACCOUNTS: u64 = 10;
const OPENING_BALANCE: i64 = 100;
const TASKS: u64 = 8;
const TRANSFERS_PER_TASK: u64 = 50;

/// Why no money was moved.
#[derive(Debug)]
enum TransferError {
    /// There is not enough.
    Short { balance: i64 },
    /// The database could not do it.
    Database(Error),
}

impl From<Error> for TransferError {
    fn from(error: Error) -> Self {
        TransferError::Database(error)
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Short { balance } => write!(f, "there are only {balance}"),
            TransferError::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransferError {}

fn account(number: u64) -> String {
    format!("account:{number:02}")
}

async fn transfer(client: &Client, from: u64, to: u64, sum: i64) -> Result<(), TransferError> {
    client
        .transaction(|txn| async move {
            // Locked as a write will lock it: two transfers that both only read first would both
            // have to wait for each other.
            let balance: i64 =
                txn.get_for_update(account(from)).await?.unwrap_or_default().parse()?;
            if balance < sum {
                return Err(TransferError::Short { balance });
            }
            txn.put(account(from), balance - sum).await?;
            txn.increment(account(to), sum).await?;
            Ok(())
        })
        .await
}

/// What all accounts have, at one moment; it waits for nobody.
async fn total(client: &Client) -> Result<i64, Error> {
    client
        .transaction_with(Isolation::ReadOnly, |txn| async move {
            let accounts = txn.scan(Scan::prefix("account:")).collect().await?;
            accounts.iter().map(|(_, balance)| balance.parse::<i64>()).sum()
        })
        .await
}

async fn run(address: &str) -> Result<(), TransferError> {
    let client = Client::connect(address).await?;
    let opening = (0..ACCOUNTS).map(|number| (account(number), OPENING_BALANCE, Put::new()));
    client.put_all(opening).await?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut refused = 0;
                for n in 0..TRANSFERS_PER_TASK {
                    let (from, to) = ((task + n) % ACCOUNTS, (task * 3 + n * 7 + 1) % ACCOUNTS);
                    if from == to {
                        continue;
                    }
                    match transfer(&client, from, to, (n % 40) as i64).await {
                        Ok(()) => {}
                        Err(TransferError::Short { .. }) => refused += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok(refused)
            })
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(total(&client).await?, ACCOUNTS as i64 * OPENING_BALANCE);
    }
    let mut refused = 0;
    for task in tasks {
        refused += task.await.unwrap_or(Ok(0))?;
    }
    let total = total(&client).await?;
    assert_eq!(total, ACCOUNTS as i64 * OPENING_BALANCE, "money is neither made nor lost");
    println!("there are {total}, as at the beginning; {refused} transfers were refused");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), TransferError> {
    run(&kv_examples::server()).await
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn money_is_neither_made_nor_lost() {
        let server = kv_examples::test_server();
        super::run(&server.address().to_string()).await.unwrap();
    }
}
