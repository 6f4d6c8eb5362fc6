//! Moving keys to where they belong.
//!
//! A key is read with its version, put where it belongs if it is not there, and deleted where it
//! was if it still has that version. Nothing is deleted before it is elsewhere, so a crash leaves
//! a key in both places at worst, and the next attempt removes it.

use kv_protocol::ErrorCode;
use kv_protocol::Isolation;

use super::ShardedClient;
use crate::client::Client;
use crate::commands::Commands;
use crate::error::{Error, Result};
use crate::limits::PAGE_ROWS_FIRST;
use crate::options::{Put, Scan};
use crate::value::EncodedValue;

/// How far a rebalance has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Keys that were looked at.
    pub keys: u64,
    /// Keys that there are to be looked at; writers may add to them.
    pub keys_in_all: u64,
    /// Keys that were moved.
    pub moved: u64,
}

impl ShardedClient {
    /// Moves every key to the server that it belongs to, and tells after each key how far it has
    /// come. It may be called again after an error: what has moved stays moved.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::sharded::ShardedClient) -> kv_client::Result<()> {
    /// client.add_server("10.0.0.3:7878").await?;
    /// let done = client
    ///     .rebalance(|so_far| eprint!("\r{} of {}", so_far.keys, so_far.keys_in_all))
    ///     .await?;
    /// println!("{} keys have moved", done.moved);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn rebalance(&self, mut tell: impl FnMut(Progress)) -> Result<Progress> {
        let servers = self.0.read().clone();
        let mut progress = Progress::default();
        for (_, client) in &servers.all {
            progress.keys_in_all += client.count(Scan::all()).await?;
        }
        for (at, (_, client)) in servers.all.iter().enumerate() {
            // Page by page without a view, which would have to be kept for as long as it takes.
            // What is written behind this place meanwhile is where it belongs already.
            let mut after = Vec::new();
            loop {
                let page = client.page(Scan::all().after(&after).limit(PAGE_ROWS_FIRST)).await?;
                let Some((last, _)) = page.last() else { break };
                after = last.to_vec();
                for (key, _) in &page {
                    let owner = servers.ring.server_of(key);
                    if owner != at {
                        move_key(client, &servers.all[owner].1, key).await?;
                        progress.moved += 1;
                    }
                    progress.keys += 1;
                    tell(progress);
                }
            }
        }
        let mut now = self.0.write();
        // A server that was added meanwhile has keys of its own to get.
        if now.all.len() == servers.all.len() {
            now.before = None;
        }
        drop(now);
        Ok(progress)
    }
}

/// Moves a key, if it is there. Others may move it at the same time, and write it where it belongs.
pub(super) async fn move_key(from: &Client, to: &Client, key: &[u8]) -> Result<()> {
    loop {
        let read = from.transaction_with(Isolation::ReadOnly, |txn| async move {
            Ok::<_, Error>((txn.meta(key).await?, txn.get(key).await?))
        });
        let (Some(meta), Some(value)) = read.await? else { return Ok(()) };
        let mut put = Put::new().if_absent();
        if let Some(life) = meta.time_to_live {
            put = put.expires_after(life);
        }
        let encoded = EncodedValue { bytes: (&*value).into(), json: meta.json };
        match to.put_with(key, encoded, put).await {
            // It is there already: somebody else has moved it, or written it since, which is newer.
            Err(error) if error.server_code() == Some(ErrorCode::Precondition) => {}
            put => put?,
        }
        match from.delete_version(key, meta.version).await {
            // Somebody else has moved it.
            Err(error) if error.current_version() == Some(0) => return Ok(()),
            // Somebody who does not know where it belongs has written it since. What stands where
            // it belongs is older if it is what was put there just now, and is then replaced.
            Err(error) if error.server_code() == Some(ErrorCode::Precondition) => {
                take_back(to, key, &value).await?;
            }
            deleted => return deleted.map(|_| ()),
        }
    }
}

/// Deletes a key if it has this value, so that a newer one can be put.
async fn take_back(to: &Client, key: &[u8], value: &[u8]) -> Result<()> {
    to.transaction(|txn| async move {
        if txn.get_for_update(key).await?.as_deref() == Some(value) {
            txn.delete(key).await?;
        }
        Ok(())
    })
    .await
}
