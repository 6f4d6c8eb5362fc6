//! A job queue that survives its workers: a job is handed to one worker at a time, and comes back
//! if that worker dies.
//!
//! `job:NUMBER` is a job that waits, `running:NUMBER` one that is done now. Both change in one
//! transaction, so no job is ever in both places or in none. `running:` keys expire: a worker that
//! dies leaves its job to whoever looks next, who finds it in `claimed:` without its `running:`.

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use kv_client::{Client, Commands, Error, Put, Result, Scan, Value};

/// How long a job may take before it is given to somebody else.
const LEASE: Duration = Duration::from_secs(30);
const JOBS: u64 = 40;
const WORKERS: u64 = 4;

/// Puts a job at the end; its number.
async fn enqueue(client: &Client, job: &str) -> Result<i64> {
    client
        .transaction(|txn| async move {
            let number = txn.increment("jobs", 1).await?;
            txn.put(format!("job:{number:08}"), job).await?;
            Ok::<_, Error>(number)
        })
        .await
}

/// Takes the first job that waits; none if there is none.
async fn take(client: &Client, worker: u64) -> Result<Option<(String, Value)>> {
    client
        .transaction(|txn| async move {
            // The scan locks what it has looked at, so two workers cannot take the same.
            let first = txn.page(Scan::prefix("job:").limit(1)).await?;
            let Some((key, job)) = first.into_iter().next() else { return Ok(None) };
            let number = key.to_str()?.trim_start_matches("job:").to_owned();
            txn.delete(&key).await?;
            txn.put(format!("claimed:{number}"), &job).await?;
            let lease = Put::new().expires_after(LEASE);
            txn.put_with(format!("running:{number}"), worker, lease).await?;
            Ok::<_, Error>(Some((number, job)))
        })
        .await
}

/// Says that a job is done.
async fn finish(client: &Client, number: &str) -> Result<()> {
    client
        .transaction(|txn| async move {
            txn.delete(format!("claimed:{number}")).await?;
            txn.delete(format!("running:{number}")).await?;
            txn.increment("done", 1).await.map(drop)
        })
        .await
}

/// Puts back the jobs whose workers have not been heard of; how many.
async fn recover(client: &Client) -> Result<u64> {
    client
        .transaction(|txn| async move {
            let mut recovered = 0;
            for (key, job) in txn.scan(Scan::prefix("claimed:")).collect().await? {
                let number = key.to_str()?.trim_start_matches("claimed:");
                if !txn.exists(format!("running:{number}")).await? {
                    txn.delete(&key).await?;
                    txn.put(format!("job:{number}"), job).await?;
                    recovered += 1;
                }
            }
            Ok::<_, Error>(recovered)
        })
        .await
}

async fn work(client: Client, worker: u64) -> Result<u64> {
    let mut done = 0;
    while let Some((number, job)) = take(&client, worker).await? {
        // Here the job would be done; what it is does not matter to the queue.
        assert!(job.to_str()?.starts_with("send mail"));
        finish(&client, &number).await?;
        done += 1;
    }
    Ok(done)
}

async fn run(address: &str) -> Result<()> {
    let client = Client::connect(address).await?;
    for number in 0..JOBS {
        enqueue(&client, &format!("send mail {number}")).await?;
    }
    // A worker that takes a job and dies: its lease runs out, here at once.
    let (number, _) = take(&client, 99).await?.unwrap_or_default();
    client.delete(format!("running:{number}")).await?;
    println!("{} job came back from a worker that died", recover(&client).await?);

    let workers: Vec<_> =
        (0..WORKERS).map(|worker| tokio::spawn(work(client.clone(), worker))).collect();
    for (worker, handle) in workers.into_iter().enumerate() {
        let done = handle.await.unwrap_or(Ok(0))?;
        println!("worker {worker} did {done} jobs");
    }
    let done: u64 = client.get("done").await?.unwrap_or_default().parse()?;
    assert_eq!(done, JOBS, "each job was done once");
    println!("all {done} jobs were done, each once");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    run(&kv_examples::server()).await
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn every_job_is_done_once() {
        let server = kv_examples::test_server();
        super::run(&server.address().to_string()).await.unwrap();
    }
}
