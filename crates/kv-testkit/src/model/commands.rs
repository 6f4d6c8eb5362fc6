//! The model's reads and writes, in a transaction or outside of any. How transactions begin and
//! end is elsewhere.

use std::collections::BTreeMap;

use super::{Bytes, Condition, Interval, Isolation, Meta, Model, Refusal, Version, Write};

/// Reads and writes.
impl Model {
    /// GET.
    ///
    /// # Errors
    /// As the command would.
    pub fn get(&self, client: u32, id: Option<u64>, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let id = self.runs_in(client, id)?;
        Ok(self.visible(client, id, key))
    }

    /// EXISTS.
    ///
    /// # Errors
    /// As the command would.
    pub fn exists(&self, client: u32, id: Option<u64>, key: &[u8]) -> Result<bool, Refusal> {
        Ok(self.get(client, id, key)?.is_some())
    }

    /// META.
    ///
    /// # Errors
    /// As the command would.
    pub fn meta(&self, client: u32, id: Option<u64>, key: &[u8]) -> Result<Option<Meta>, Refusal> {
        let id = self.runs_in(client, id)?;
        if let Some(write) = self.own_write(client, id, key) {
            let version = self.newest_version(key) + 1;
            let bytes = write.value.as_ref().map(Vec::len);
            let ttl_ms = write.expires_ms.map(|at_ms| at_ms.saturating_sub(self.now_ms));
            return Ok(bytes.map(|bytes| Meta { version, revision: None, bytes, ttl_ms }));
        }
        let as_of_ms = self.as_of_ms(client, id, key);
        Ok(self.seen(client, id, key).map(|version| Meta {
            version: version.version,
            revision: Some(version.revision),
            bytes: version.value.as_ref().map_or(0, Vec::len),
            ttl_ms: version
                .expires_ms
                .map(|at_ms| at_ms.saturating_sub(as_of_ms.max(version.time_ms)).max(1)),
        }))
    }

    /// SCAN: the pairs in key order.
    ///
    /// # Errors
    /// As the command would.
    pub fn scan(
        &self,
        client: u32,
        id: Option<u64>,
        interval: &Interval,
    ) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
        let id = self.runs_in(client, id)?;
        let own = id.and_then(|id| self.open.get(&(client, id)));
        let own = own.into_iter().flat_map(|transaction| transaction.writes.keys());
        let mut keys: Vec<&Bytes> = self.keys.keys().chain(own).collect();
        keys.sort();
        keys.dedup();
        let inside = keys.into_iter().filter(|key| interval.contains(key));
        let pairs = inside.filter_map(|key| Some((key.clone(), self.visible(client, id, key)?)));
        Ok(pairs.take(interval.limit.unwrap_or(usize::MAX)).collect())
    }

    /// PUT.
    ///
    /// # Errors
    /// As the command would.
    pub fn put(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        value: &[u8],
        condition: Condition,
    ) -> Result<(), Refusal> {
        let id = self.writes_in(client, id, key)?;
        self.check(client, id, key, condition)?;
        self.write(client, id, key, Some(value.to_vec()), None);
        Ok(())
    }

    /// DEL: whether there was something.
    ///
    /// # Errors
    /// As the command would.
    pub fn delete(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        condition: Condition,
    ) -> Result<bool, Refusal> {
        let id = self.writes_in(client, id, key)?;
        self.check(client, id, key, condition)?;
        let was_there = self.visible(client, id, key).is_some();
        if was_there {
            self.write(client, id, key, None, None);
        }
        Ok(was_there)
    }

    /// INCR: the new number.
    ///
    /// # Errors
    /// As the command would.
    pub fn increment(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        by: i64,
    ) -> Result<i64, Refusal> {
        let id = self.writes_in(client, id, key)?;
        let old = match self.visible(client, id, key) {
            None => 0,
            Some(value) => {
                let text = String::from_utf8(value).map_err(|_| Refusal::Type)?;
                text.parse::<i64>().map_err(|_| Refusal::Type)?
            }
        };
        let new = old.checked_add(by).ok_or(Refusal::Type)?;
        let expires_ms = self.expiry_of(client, id, key);
        self.write(client, id, key, Some(new.to_string().into_bytes()), expires_ms);
        Ok(new)
    }

    /// Which transaction a write runs in; first updater wins is decided here.
    ///
    /// # Errors
    /// As every write would.
    pub fn writes_in(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
    ) -> Result<Option<u64>, Refusal> {
        let Some(id) = self.runs_in(client, id)? else { return Ok(None) };
        let transaction = &self.open[&(client, id)];
        let changed = self.keys.get(key).and_then(|versions| versions.last());
        let changed = changed.map_or(0, |version| version.revision);
        match transaction.isolation {
            Isolation::Readonly => Err(Refusal::Readonly),
            Isolation::Snapshot if changed > transaction.view => {
                self.abort(client, id);
                Err(Refusal::Conflict)
            }
            Isolation::Snapshot | Isolation::Serializable => Ok(Some(id)),
        }
    }

    fn check(
        &self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        condition: Condition,
    ) -> Result<(), Refusal> {
        let version = self.meta(client, id, key)?.map_or(0, |meta| meta.version);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => version == 0,
            Condition::Present => version > 0,
            Condition::Version(wanted) => version == wanted,
        };
        if holds { Ok(()) } else { Err(Refusal::Precondition(version)) }
    }

    pub(super) fn write(
        &mut self,
        client: u32,
        id: Option<u64>,
        key: &[u8],
        value: Option<Bytes>,
        expires_ms: Option<u64>,
    ) {
        let open = id.and_then(|id| Some((id, self.open.get_mut(&(client, id))?)));
        match open {
            Some((owner, transaction)) => {
                transaction.writes.insert(key.to_vec(), Write { value, expires_ms, owner });
            }
            None => {
                let write = Write { value, expires_ms, owner: 0 };
                self.install(client, 0, BTreeMap::from([(key.to_vec(), write)]));
            }
        }
    }

    pub(super) fn own_write(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<&Write> {
        self.open.get(&(client, id?))?.writes.get(key)
    }

    pub(super) fn visible(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<Bytes> {
        match self.own_write(client, id, key) {
            Some(write) => write.value.clone(),
            None => self.seen(client, id, key)?.value.clone(),
        }
    }

    /// The committed version that the transaction sees, if its key is there for it.
    pub(super) fn seen(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<&Version> {
        let as_of_ms = self.as_of_ms(client, id, key);
        self.committed(key, self.reads_up_to(client, id), as_of_ms)
    }

    fn reads_up_to(&self, client: u32, id: Option<u64>) -> u64 {
        match id.and_then(|id| self.open.get(&(client, id))) {
            Some(transaction) if transaction.isolation != Isolation::Serializable => {
                transaction.view
            }
            _ => self.revision,
        }
    }
}
