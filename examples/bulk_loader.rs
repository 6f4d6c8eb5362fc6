//! Loads many records as fast as the server takes them, and goes on where it stopped.
//!
//! Shows `put_all`, which sends a batch in one go; several batches at the same time; a mark that is
//! written in the same transaction as its batch, so that it is always true; and reading everything
//! back in order with memory for one page.

#![allow(clippy::print_stdout, reason = "an example talks")]

use kv_client::{Client, Commands, Error, Put, Result, Scan};

const RECORDS: u64 = 20_000;
const BATCH: u64 = 1000;
/// Each loads its own part of the records, at the same time as the others.
const LOADERS: u64 = 4;

/// Where the records come from: a file or another database, as it may be.
fn record(number: u64) -> (String, String) {
    (format!("record:{number:08}"), format!("what is known of {number}"))
}

/// Loads the records from `from` to `to`, those that are not there yet; how many it put.
async fn load(client: Client, loader: u64, from: u64, to: u64) -> Result<u64> {
    let mark = &format!("loaded:{loader}");
    let mut at: u64 = match client.get(mark).await? {
        Some(mark) => mark.parse()?,
        None => from,
    };
    let mut put = 0;
    while at < to {
        let end = to.min(at + BATCH);
        client
            .transaction(|txn| async move {
                let records = (at..end).map(record).map(|(key, value)| (key, value, Put::new()));
                txn.put_all(records).await?;
                txn.put(mark, end).await?;
                Ok::<_, Error>(())
            })
            .await?;
        put += end - at;
        at = end;
    }
    Ok(put)
}

/// Loads all of it; how many records were not there yet.
async fn load_all(client: &Client, records: u64) -> Result<u64> {
    let part = RECORDS / LOADERS;
    let loaders: Vec<_> = (0..LOADERS)
        .map(|loader| {
            let from = loader * part;
            tokio::spawn(load(client.clone(), loader, from, (from + part).min(records)))
        })
        .collect();
    let mut put = 0;
    for loader in loaders {
        put += loader.await.unwrap_or(Ok(0))?;
    }
    Ok(put)
}

async fn run(address: &str) -> Result<()> {
    let client = Client::connect(address).await?;
    // It is stopped when it has come half way, and started again.
    let half = load_all(&client, RECORDS / 2).await?;
    let rest = load_all(&client, RECORDS).await?;
    assert_eq!(half + rest, RECORDS, "nothing was loaded twice");
    println!("{half} records, then the other {rest}");

    let mut rows = client.scan(Scan::prefix("record:"));
    let mut expected = 0;
    while let Some((key, value)) = rows.next().await? {
        let (is_key, is_value) = record(expected);
        assert!(key == *is_key && value == *is_value);
        expected += 1;
    }
    assert_eq!(expected, RECORDS);
    println!("all {expected} are there, in their order");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    run(&kv_examples::server()).await
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn all_of_it_is_loaded_once() {
        let server = kv_examples::test_server();
        super::run(&server.address().to_string()).await.unwrap();
    }
}
