//! A configuration that many read and few change: each change is seen whole, somebody else's change
//! is never overwritten unseen, and last week's can be had back.
//!
//! Shows serde types as values, writing only the version that was read, history, and going back.

#![allow(clippy::print_stdout, reason = "an example talks")]

use kv_client::{Client, Commands, ErrorCode, Json, Put, Result};
use serde::{Deserialize, Serialize};

const KEY: &str = "configuration:shop";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Configuration {
    tax_percent: u8,
    free_shipping_from: u32,
    is_closed: bool,
}

/// The configuration and its version, 0 if there is none.
async fn read(client: &Client) -> Result<(Configuration, u64)> {
    client
        .transaction_with(kv_client::Isolation::ReadOnly, |txn| async move {
            let Some(value) = txn.get(KEY).await? else { return Ok(Default::default()) };
            let version = txn.meta(KEY).await?.map_or(0, |meta| meta.version);
            Ok((value.json()?, version))
        })
        .await
}

/// Changes it, whatever others do meanwhile: looks again if somebody was quicker.
async fn change(client: &Client, change: impl Fn(&mut Configuration)) -> Result<u64> {
    loop {
        let (mut configuration, version) = read(client).await?;
        change(&mut configuration);
        let put = Put::new().if_version(version);
        match client.put_with(KEY, Json(&configuration), put).await {
            Ok(()) => return Ok(version + 1),
            Err(error) if error.server_code() == Some(ErrorCode::Precondition) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes an old version the newest one.
async fn go_back_to(client: &Client, version: u64) -> Result<()> {
    let old: Configuration = client.get_version(KEY, version).await?.unwrap_or_default().json()?;
    change(client, |configuration| *configuration = old.clone()).await?;
    Ok(())
}

async fn run(address: &str) -> Result<()> {
    let client = Client::connect(address).await?;
    let first = change(&client, |of| of.tax_percent = 19).await?;
    // Two people at the same time: neither change is lost.
    let (shipping, closed) = tokio::join!(
        change(&client, |of| of.free_shipping_from = 50),
        change(&client, |of| of.is_closed = true),
    );
    println!("versions {first}, {} and {} are made", shipping?, closed?);
    let (now, _) = read(&client).await?;
    let both = Configuration { tax_percent: 19, free_shipping_from: 50, is_closed: true };
    assert_eq!(now, both);

    go_back_to(&client, first).await?;
    let (now, version) = read(&client).await?;
    assert_eq!(now, Configuration { tax_percent: 19, ..Configuration::default() });
    for of in client.history(KEY, 10).await? {
        let value = of.value.map(|value| value.to_str_lossy().into_owned());
        println!("version {}: {}", of.version, value.unwrap_or_default());
    }
    println!("version {version} is as version {first} was");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    run(&kv_examples::server()).await
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn no_change_is_lost_and_all_can_be_undone() {
        let server = kv_examples::test_server();
        super::run(&server.address().to_string()).await.unwrap();
    }
}
