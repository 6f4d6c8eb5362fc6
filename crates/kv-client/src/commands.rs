//! The commands: the same for a client, whose commands are transactions of their own, and for a
//! transaction.

use std::time::Duration;

use kv_protocol::request::{Nearest, Read, Request, Selection};

use crate::connection::Frame;
use crate::error::Result;
use crate::line::Line;
use crate::options::{Put, Scan, whole_seconds};
use crate::reply::{self, Meta, TimeToLive, Version};
use crate::value::{IntoValue, Key, Value};

/// What can carry out a request: only this crate's clients and transactions.
pub trait Execute: Sync {
    /// The line to send, within the transaction if there is one.
    #[doc(hidden)]
    fn line(&self, request: Request<'_>) -> Line;

    /// Sends it and reads the reply.
    #[doc(hidden)]
    fn execute<T: Send>(
        &self,
        line: Result<Line>,
        read: fn(&Frame) -> Result<T>,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Sends all of them in one go and reads their replies. Without a pipeline, one after the
    /// other.
    #[doc(hidden)]
    fn execute_all<T: Send>(
        &self,
        lines: Result<Vec<Line>>,
        read: fn(&Frame) -> Result<T>,
    ) -> impl Future<Output = Result<Vec<T>>> + Send {
        async move {
            let mut replies = Vec::new();
            for line in lines? {
                replies.push(self.execute(Ok(line), read).await?);
            }
            Ok(replies)
        }
    }
}

/// The commands on keys. Bring it into scope to use them on a [`Client`](crate::Client), a
/// [`Transaction`](crate::Transaction) or a [`ShardedClient`](crate::sharded::ShardedClient), or
/// as a bound of a function that works with either.
///
/// Keys and values are any bytes. Keys have 1 to 4096 bytes and values up to 16 MiB unless the
/// server was told otherwise; it answers TOOBIG to what is larger.
///
/// # Errors
///
/// Every command answers an [`Error`](crate::Error): read in [its module](crate::error) what each
/// means for the data.
///
/// # Example
///
/// ```no_run
/// use kv_client::{Client, Commands};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kv_client::Result<()> {
/// let client = Client::connect("127.0.0.1:7878").await?;
/// client.put("house", "large").await?;
/// assert_eq!(client.get("house").await?.unwrap(), "large");
/// # Ok(())
/// # }
/// ```
pub trait Commands: Execute {
    /// Sets a key. It will not expire, even if it would have before.
    ///
    /// ```no_run
    /// use kv_client::Json;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// client.put("house", "large").await?;
    /// client.put("colours", Json(["red", "blue"])).await?;
    /// client.put("answer", 42).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn put(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue,
    ) -> impl Future<Output = Result<()>> + Send {
        self.put_with(key, value, Put::new())
    }

    /// Sets a key if a condition holds, or for a time.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use kv_client::{ErrorCode, Put};
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let mine = Put::new().if_absent().expires_after(Duration::from_secs(30));
    /// match client.put_with("lease", "me", mine).await {
    ///     Ok(()) => println!("the lease is mine for half a minute"),
    ///     Err(e) if e.server_code() == Some(ErrorCode::Precondition) => println!("taken"),
    ///     Err(other) => return Err(other),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue,
        put: Put,
    ) -> impl Future<Output = Result<()>> + Send {
        self.execute(put_line(self, key.as_ref(), value, put), reply::done)
    }

    /// Sets many keys, all of which leave in one go.
    ///
    /// Outside a transaction each is a transaction of its own, and after an error some may have
    /// been done; within one, all are done or none.
    ///
    /// ```no_run
    /// use kv_client::Put;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let numbers = (0..1000).map(|n| (format!("number:{n}"), n, Put::new()));
    /// client.put_all(numbers).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn put_all<K: AsRef<[u8]>, V: IntoValue>(
        &self,
        puts: impl IntoIterator<Item = (K, V, Put)>,
    ) -> impl Future<Output = Result<()>> + Send {
        let lines =
            puts.into_iter().map(|(key, value, put)| put_line(self, key.as_ref(), value, put));
        let done = self.execute_all(lines.collect(), reply::done);
        async move { done.await.map(drop) }
    }

    /// Reads a key; none if there is no such key.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let Some(value) = client.get("answer").await? else { return Ok(()) };
    /// println!("{} as text, {} as a number", value.to_str()?, value.parse::<i64>()?);
    /// # Ok(())
    /// # }
    /// ```
    fn get(&self, key: impl AsRef<[u8]>) -> impl Future<Output = Result<Option<Value>>> + Send {
        let read = Read::Newest { txn: None, for_update: false };
        let line = self.line(Request::Get { key: key.as_ref().into(), read });
        self.execute(Ok(line), reply::value)
    }

    /// Reads many keys, all of which are asked for in one go; in their order.
    ///
    /// Outside a transaction each is read by itself: they need not be of one moment.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let values = client.get_all(["a", "b", "c"]).await?;
    /// assert_eq!(values.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    fn get_all<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Vec<Option<Value>>>> + Send {
        let read = Read::Newest { txn: None, for_update: false };
        let lines = keys
            .into_iter()
            .map(|key| self.line(Request::Get { key: key.as_ref().into(), read }))
            .collect();
        self.execute_all(Ok(lines), reply::value)
    }

    /// Reads one committed version of a key, however old; it takes no lock and ignores that the
    /// key has expired. None if there never was one or it is a delete; PRUNED if it is no longer
    /// kept.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let first = client.get_version("house", 1).await?;
    /// # let _ = first;
    /// # Ok(())
    /// # }
    /// ```
    fn get_version(
        &self,
        key: impl AsRef<[u8]>,
        version: u64,
    ) -> impl Future<Output = Result<Option<Value>>> + Send {
        let read = Read::Version(version);
        let line = self.line(Request::Get { key: key.as_ref().into(), read });
        self.execute(Ok(line), reply::value)
    }

    /// Reads a key as it was at a revision; it takes no lock.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let newest = client.history("house", 1).await?;
    /// let before = client.get_at("house", newest[0].revision - 1).await?;
    /// # let _ = before;
    /// # Ok(())
    /// # }
    /// ```
    fn get_at(
        &self,
        key: impl AsRef<[u8]>,
        revision: u64,
    ) -> impl Future<Output = Result<Option<Value>>> + Send {
        let read = Read::At(revision);
        let line = self.line(Request::Get { key: key.as_ref().into(), read });
        self.execute(Ok(line), reply::value)
    }

    /// Deletes a key; whether there was one.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// assert!(client.delete("house").await?);
    /// assert!(!client.delete("house").await?);
    /// # Ok(())
    /// # }
    /// ```
    fn delete(&self, key: impl AsRef<[u8]>) -> impl Future<Output = Result<bool>> + Send {
        let key = key.as_ref().into();
        let line = self.line(Request::Del { key, txn: None, if_version: None });
        self.execute(Ok(line), reply::was_there)
    }

    /// Deletes a key if this is its newest version; else the server answers PRECONDITION.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// if let Some(meta) = client.meta("house").await? {
    ///     client.delete_version("house", meta.version).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn delete_version(
        &self,
        key: impl AsRef<[u8]>,
        version: u64,
    ) -> impl Future<Output = Result<bool>> + Send {
        let key = key.as_ref().into();
        let line = self.line(Request::Del { key, txn: None, if_version: Some(version) });
        self.execute(Ok(line), reply::was_there)
    }

    /// Whether there is such a key.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// assert!(client.exists("house").await?);
    /// # Ok(())
    /// # }
    /// ```
    fn exists(&self, key: impl AsRef<[u8]>) -> impl Future<Output = Result<bool>> + Send {
        let line = self.line(Request::Exists { key: key.as_ref().into(), txn: None });
        self.execute(Ok(line), reply::flag)
    }

    /// Adds to a number and answers the sum. A missing key counts as 0; TYPE if the value is no
    /// whole number or the sum does not fit into 64 bits.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let visitors = client.increment("visitors", 1).await?;
    /// # let _ = visitors;
    /// # Ok(())
    /// # }
    /// ```
    fn increment(
        &self,
        key: impl AsRef<[u8]>,
        by: i64,
    ) -> impl Future<Output = Result<i64>> + Send {
        let line = self.line(Request::Incr { key: key.as_ref().into(), by, txn: None });
        self.execute(Ok(line), reply::number)
    }

    /// What a key is beside its value: version, type, size, times.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// if let Some(meta) = client.meta("house").await? {
    ///     println!("version {} has {} bytes", meta.version, meta.bytes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn meta(&self, key: impl AsRef<[u8]>) -> impl Future<Output = Result<Option<Meta>>> + Send {
        let line = self.line(Request::Meta { key: key.as_ref().into(), txn: None });
        self.execute(Ok(line), reply::meta)
    }

    /// What many keys are beside their values, all of which are asked for in one go.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let metas = client.meta_all(["a", "b"]).await?;
    /// # let _ = metas;
    /// # Ok(())
    /// # }
    /// ```
    fn meta_all<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Vec<Option<Meta>>>> + Send {
        let lines = keys
            .into_iter()
            .map(|key| self.line(Request::Meta { key: key.as_ref().into(), txn: None }))
            .collect();
        self.execute_all(Ok(lines), reply::meta)
    }

    /// Deletes many keys, all of which leave in one go; whether there was each.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let were_there = client.delete_all(["a", "b"]).await?;
    /// # let _ = were_there;
    /// # Ok(())
    /// # }
    /// ```
    fn delete_all<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Vec<bool>>> + Send {
        let lines = keys
            .into_iter()
            .map(|key| {
                let key = key.as_ref().into();
                self.line(Request::Del { key, txn: None, if_version: None })
            })
            .collect();
        self.execute_all(Ok(lines), reply::was_there)
    }

    /// The kept versions of a key, the newest first, at most so many. Only committed ones.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// for version in client.history("house", 10).await? {
    ///     println!("{}: {:?}", version.version, version.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn history(
        &self,
        key: impl AsRef<[u8]>,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<Version>>> + Send {
        let line = self.line(Request::History { key: key.as_ref().into(), limit: Some(limit) });
        self.execute(Ok(line), reply::versions)
    }

    /// Has a key expire after whole seconds, at least one; whether there is such a key.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// client.expire("session:7", Duration::from_secs(1800)).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn expire(
        &self,
        key: impl AsRef<[u8]>,
        after: Duration,
    ) -> impl Future<Output = Result<bool>> + Send {
        let line = whole_seconds(after)
            .map(|ttl_s| self.line(Request::Expire { key: key.as_ref().into(), ttl_s, txn: None }));
        self.execute(line, reply::was_there)
    }

    /// Has a key not expire; whether there is such a key.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// client.persist("session:7").await?;
    /// # Ok(())
    /// # }
    /// ```
    fn persist(&self, key: impl AsRef<[u8]>) -> impl Future<Output = Result<bool>> + Send {
        let line = self.line(Request::Persist { key: key.as_ref().into(), txn: None });
        self.execute(Ok(line), reply::was_there)
    }

    /// How long a key has to live.
    ///
    /// ```no_run
    /// use kv_client::TimeToLive;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// if let TimeToLive::Left(left) = client.time_to_live("session:7").await? {
    ///     println!("{} s left", left.as_secs());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn time_to_live(
        &self,
        key: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<TimeToLive>> + Send {
        let line = self.line(Request::Ttl { key: key.as_ref().into(), txn: None });
        self.execute(Ok(line), reply::time_to_live)
    }

    /// How many pairs there are that a scan would return.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let orders = client.count(Scan::prefix("order:")).await?;
    /// # let _ = orders;
    /// # Ok(())
    /// # }
    /// ```
    fn count(&self, scan: Scan) -> impl Future<Output = Result<u64>> + Send {
        let line = self.line(Request::Count(Box::new(scan.selection)));
        self.execute(Ok(line), reply::count)
    }

    /// One page of a scan, at once: for a few rows. [`Client::scan`](crate::Client::scan) streams
    /// any number of them.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// for (key, value) in client.page(Scan::prefix("order:").limit(10)).await? {
    ///     println!("{key:?} is {value:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn page(&self, scan: Scan) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send {
        let selection: Box<Selection<'_>> = Box::new(scan.selection);
        self.execute(Ok(self.line(Request::Scan(selection))), reply::pairs)
    }

    /// The pairs whose values are the numbers closest to one, the closest first, at most so many.
    ///
    /// ```no_run
    /// # use kv_client::{Client, Commands};
    /// # async fn example(client: Client) -> kv_client::Result<()> {
    /// let like_it = client.nearest(19.5, 3, "temperature:").await?;
    /// # let _ = like_it;
    /// # Ok(())
    /// # }
    /// ```
    fn nearest(
        &self,
        number: f64,
        rows: u64,
        prefix: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send {
        let prefix = Some(prefix.as_ref()).filter(|prefix| !prefix.is_empty());
        let nearest = Nearest {
            number: number.to_string().into_bytes().into(),
            rows,
            prefix: prefix.map(Into::into),
            txn: None,
        };
        let line = self.line(Request::Nearest(Box::new(nearest)));
        self.execute(Ok(line), reply::pairs)
    }
}

fn put_line(
    on: &(impl Execute + ?Sized),
    key: &[u8],
    value: impl IntoValue,
    put: Put,
) -> Result<Line> {
    let value = value.into_value()?;
    let options = put.options(value.json)?;
    Ok(on.line(Request::Put { key: key.into(), value: value.bytes, txn: None, options }))
}
