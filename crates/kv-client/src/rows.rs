//! Scans, page by page.
//!
//! A page has as many rows as fit into about a mebibyte, by the size of the rows of the page before
//! it. The next page is asked for with the last key of this one, in the same transaction, so that
//! all pages show one state of the store.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use kv_protocol::Isolation;

use crate::client::Client;
use crate::commands::Commands;
use crate::error::Result;
use crate::limits::{PAGE_BYTES, PAGE_ROWS_FIRST, PAGE_ROWS_MAX};
use crate::options::Scan;
use crate::transaction::Transaction;
use crate::value::{Key, Value};

/// A pair of the store.
pub type Pair = (Key, Value);

/// The rows of a scan: call [`next`](Rows::next), or use it as a [`Stream`].
///
/// After an error it is at its end.
#[must_use = "a scan does nothing until its rows are asked for"]
pub struct Rows {
    /// Those of the page that have not been handed out.
    page: VecDeque<Pair>,
    pages: Pages,
}

type Fetching = Pin<Box<dyn Future<Output = (Box<Source>, Result<Vec<Pair>>)> + Send>>;

enum Pages {
    /// The next page can be asked for.
    More(Box<Source>),
    /// It has been asked for.
    Fetching(Fetching),
    /// There is none.
    Done,
}

/// Where pages come from.
struct Source {
    reader: Reader,
    /// What is still to be returned, from the key after which it goes on.
    scan: Scan,
    page_rows: u64,
    /// Whether the last page was short.
    is_at_end: bool,
}

enum Reader {
    /// A client, until it is known that there is more than a page to read.
    Client(Client),
    /// A transaction, somebody's or the scan's own.
    Transaction(Transaction),
}

impl Rows {
    pub(crate) fn of_client(client: Client, scan: Scan) -> Self {
        Rows::new(Reader::Client(client), scan)
    }

    pub(crate) fn of_transaction(transaction: Transaction, scan: Scan) -> Self {
        Rows::new(Reader::Transaction(transaction), scan)
    }

    fn new(reader: Reader, scan: Scan) -> Self {
        let source = Source { reader, scan, page_rows: PAGE_ROWS_FIRST, is_at_end: false };
        Rows { page: VecDeque::new(), pages: Pages::More(Box::new(source)) }
    }

    /// The next pair; none at the end.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let mut rows = client.scan(Scan::prefix("order:"));
    /// while let Some((key, value)) = rows.next().await? {
    ///     println!("{key:?} is {value:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command; after it there are no more rows.
    pub async fn next(&mut self) -> Result<Option<Pair>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await.transpose()
    }

    /// All that are left.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let orders = client.scan(Scan::prefix("order:").limit(100)).collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`next`](Rows::next).
    pub async fn collect(mut self) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        while let Some(pair) = self.next().await? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

impl Stream for Rows {
    type Item = Result<Pair>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pair) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(pair)));
            }
            match std::mem::replace(&mut self.pages, Pages::Done) {
                Pages::Done => return Poll::Ready(None),
                Pages::More(source) => self.pages = Pages::Fetching(Box::pin(source.fetch())),
                Pages::Fetching(mut fetching) => {
                    let polled = fetching.as_mut().poll(context);
                    if polled.is_pending() {
                        self.pages = Pages::Fetching(fetching);
                    }
                    let (source, page) = ready!(polled);
                    match page {
                        Ok(page) => self.page = page.into(),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                    if !source.is_at_end {
                        self.pages = Pages::More(source);
                    }
                }
            }
        }
    }
}

impl Source {
    async fn fetch(mut self: Box<Self>) -> (Box<Self>, Result<Vec<Pair>>) {
        let page = self.page().await;
        (self, page)
    }

    async fn page(&mut self) -> Result<Vec<Pair>> {
        let limit = self.scan.selection.limit;
        let rows_max = limit.map_or(self.page_rows, |limit| limit.min(self.page_rows));
        let page = self.scan.clone().limit(rows_max);
        let pairs = match &self.reader {
            Reader::Client(client) if limit == Some(rows_max) => client.page(page).await?,
            Reader::Client(client) => {
                let transaction = client.begin(Isolation::ReadOnly).await?;
                let pairs = transaction.page(page).await?;
                self.reader = Reader::Transaction(transaction);
                pairs
            }
            Reader::Transaction(transaction) => transaction.page(page).await?,
        };
        let rows = pairs.len() as u64;
        if let Some(limit) = &mut self.scan.selection.limit {
            *limit = limit.saturating_sub(rows);
        }
        self.is_at_end = rows < rows_max || self.scan.selection.limit == Some(0);
        if let Some((key, _)) = pairs.last() {
            self.scan.selection.after = Some(key.to_vec().into());
        }
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        let row_bytes = (bytes as u64 / rows.max(1)).max(1);
        self.page_rows = (PAGE_BYTES / row_bytes).clamp(1, PAGE_ROWS_MAX);
        Ok(pairs)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("page_rows_left", &self.page.len()).finish_non_exhaustive()
    }
}
