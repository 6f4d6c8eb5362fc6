//! Expiry in the model: its clock, the commands about it, and the time by which each reader judges.
//!
//! A view has one time. A SERIALIZABLE transaction judges a key when it first locks it, which only
//! the caller knows: [`Model::judge`] is to be called with what a command has locked and looked at.

use super::{Bytes, Interval, Isolation, Model, Refusal, Write};

impl Model {
    /// Moves the clock.
    pub fn advance(&mut self, by_ms: u64) {
        self.now_ms += by_ms;
    }

    /// The clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// When a revision was committed; before the first, the beginning of time.
    pub(super) fn time_of(&self, revision: u64) -> u64 {
        let at = usize::try_from(revision).ok().and_then(|revision| revision.checked_sub(1));
        at.and_then(|at| self.times_ms.get(at)).copied().unwrap_or(0)
    }

    /// Notes that a transaction has locked an interval, and looked at it. What it had locked before
    /// stays as it was.
    pub fn judge(&mut self, client: u32, id: Option<u64>, interval: Interval) {
        let Ok(Some(id)) = self.runs_in(client, id) else { return };
        if self.open[&(client, id)].isolation == Isolation::Serializable {
            let root = self.root(client, id);
            self.judged.entry((client, root)).or_default().push((interval, self.now_ms));
        }
    }

    /// Whether the transaction, or one around it, has written the key.
    #[must_use]
    pub fn has_written(&self, client: u32, id: Option<u64>, key: &[u8]) -> bool {
        let id = self.runs_in(client, id).ok().flatten();
        self.own_write(client, id, key).is_some()
    }

    /// The time by which a key is judged.
    pub(super) fn as_of_ms(&self, client: u32, id: Option<u64>, key: &[u8]) -> u64 {
        let Some((id, transaction)) = id.and_then(|id| Some((id, self.open.get(&(client, id))?)))
        else {
            return self.now_ms;
        };
        if transaction.isolation != Isolation::Serializable {
            return transaction.view_ms;
        }
        self.judged_ms(client, self.root(client, id), key)
    }

    /// The time at which a SERIALIZABLE root has judged a key; if it has not, now.
    pub(super) fn judged_ms(&self, client: u32, root: u64, key: &[u8]) -> u64 {
        let mut judged = self.judged.get(&(client, root)).into_iter().flatten();
        judged.find(|(interval, _)| interval.contains(key)).map_or(self.now_ms, |(_, ms)| *ms)
    }

    /// PUT with EX.
    ///
    /// # Errors
    /// As the command would.
    pub fn put_expiring(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        value: &[u8],
        ttl_ms: u64,
    ) -> Result<(), Refusal> {
        let id = self.writes_in(client, id, key)?;
        let expires_ms = Some(self.now_ms + ttl_ms);
        self.write(client, id, key, Some(value.to_vec()), expires_ms);
        Ok(())
    }

    /// EXPIRE, or PERSIST without a time: whether there was something.
    ///
    /// # Errors
    /// As the command would.
    pub fn expire(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, Refusal> {
        let id = self.writes_in(client, id, key)?;
        let value = self.visible(client, id, key);
        let was_there = value.is_some();
        if was_there {
            self.write(client, id, key, value, ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms));
        }
        Ok(was_there)
    }

    /// When what the transaction sees under a key expires.
    pub(super) fn expiry_of(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<u64> {
        match self.own_write(client, id, key) {
            Some(Write { expires_ms, value: Some(_), .. }) => *expires_ms,
            Some(_) => None,
            None => self.seen(client, id, key)?.expires_ms,
        }
    }
}

/// The interval of one key.
#[must_use]
pub fn only(key: &[u8]) -> Interval {
    let to: Bytes = [key, &[0]].concat();
    Interval { from: key.to_vec(), to: Some(to), ..Interval::default() }
}
