//! The rows of several servers in one order.

use std::fmt;

use crate::error::Result;
use crate::rows::{Pair, Rows};

/// The rows of a scan of all servers.
#[must_use = "a scan does nothing until its rows are asked for"]
pub struct ShardedRows {
    /// The next row of each server that has one.
    heads: Vec<(Pair, Rows)>,
    /// Those whose first row has not been asked for.
    unread: Vec<Rows>,
    left: Option<u64>,
}

impl ShardedRows {
    pub(super) fn new(rows: Vec<Rows>, limit: Option<u64>) -> Self {
        ShardedRows { heads: Vec::new(), unread: rows, left: limit }
    }

    /// The next pair; none at the end.
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn next(&mut self) -> Result<Option<Pair>> {
        // Nothing is taken out before what replaces it has come: whoever stops waiting in between
        // can ask again.
        while let Some(rows) = self.unread.last_mut() {
            let head = rows.next().await?;
            let rows = self.unread.pop();
            self.heads.extend(head.zip(rows));
        }
        if self.left == Some(0) {
            return Ok(None);
        }
        let least = (0..self.heads.len()).min_by(|a, b| {
            let key = |at: &usize| &self.heads[*at].0.0;
            key(a).cmp(key(b))
        });
        let Some(least) = least else { return Ok(None) };
        let (head, rows) = &mut self.heads[least];
        let next = rows.next().await?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(Some(match next {
            Some(next) => std::mem::replace(head, next),
            None => self.heads.swap_remove(least).0,
        }))
    }

    /// All that are left.
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn collect(mut self) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        while let Some(pair) = self.next().await? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

impl fmt::Debug for ShardedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedRows").field("servers", &self.heads.len()).finish_non_exhaustive()
    }
}
