//! The model's reads and writes, in a transaction or outside of any. How transactions begin and
//! end is elsewhere.

use std::collections::BTreeMap;

use super::{Bytes, Condition, Interval, Isolation, Meta, Model, Refusal, Write};

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
            return Ok(bytes.map(|bytes| Meta { version, revision: None, bytes }));
        }
        let version = self.committed(key, self.reads_up_to(client, id));
        Ok(version.map(|version| Meta {
            version: version.version,
            revision: Some(version.revision),
            bytes: version.value.as_ref().map_or(0, Vec::len),
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

    /// COUNT.
    ///
    /// # Errors
    /// As the command would.
    pub fn count(
        &self,
        client: u32,
        id: Option<u64>,
        interval: &Interval,
    ) -> Result<usize, Refusal> {
        Ok(self.scan(client, id, interval)?.len())
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
        self.write(client, id, key, Some(value.to_vec()));
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
            self.write(client, id, key, None);
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
        self.write(client, id, key, Some(new.to_string().into_bytes()));
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

    fn write(&mut self, client: u32, id: Option<u64>, key: &[u8], value: Option<Bytes>) {
        let open = id.and_then(|id| Some((id, self.open.get_mut(&(client, id))?)));
        match open {
            Some((owner, transaction)) => {
                transaction.writes.insert(key.to_vec(), Write { value, owner });
            }
            None => {
                self.install(client, BTreeMap::from([(key.to_vec(), Write { value, owner: 0 })]));
            }
        }
    }

    fn own_write(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<&Write> {
        self.open.get(&(client, id?))?.writes.get(key)
    }

    fn visible(&self, client: u32, id: Option<u64>, key: &[u8]) -> Option<Bytes> {
        match self.own_write(client, id, key) {
            Some(write) => write.value.clone(),
            None => self.committed(key, self.reads_up_to(client, id))?.value.clone(),
        }
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
