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
            let mut rows = client.scan(Scan::all());
            while let Some((key, _)) = rows.next().await? {
                let owner = servers.ring.server_of(&key);
                if owner != at {
                    move_key(client, &servers.all[owner].1, &key).await?;
                    progress.moved += 1;
                }
                progress.keys += 1;
                tell(progress);
            }
        }
        self.0.write().before = None;
        Ok(progress)
    }
}

/// Moves a key, if it is there.
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
            Err(error) if is_precondition(&error) => {
                // It was written where it belongs since: that is newer.
            }
            put => put?,
        }
        match from.delete_version(key, meta.version).await {
            // Somebody who does not know where it belongs has written it: take that, too.
            Err(error) if is_precondition(&error) => {
                to.delete(key).await?;
            }
            deleted => return deleted.map(|_| ()),
        }
    }
}

fn is_precondition(error: &Error) -> bool {
    error.server_code() == Some(ErrorCode::Precondition)
}
