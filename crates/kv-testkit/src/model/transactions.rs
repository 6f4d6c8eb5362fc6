//! The model's transactions: how they begin and end, and which one a command runs in. What the
//! commands do in them is elsewhere.

use std::collections::BTreeMap;

use super::{
    Bytes, Isolation, Model, NESTING_MAX, Open, Place, Refusal, Transaction, Version, Write,
};

/// Transactions: begin, commit, roll back.
impl Model {
    /// BEGIN. `isolation` is `None` where the client names none.
    ///
    /// # Errors
    /// As the command would.
    pub fn begin(
        &mut self,
        client: u32,
        place: Place,
        isolation: Option<Isolation>,
        at: Option<u64>,
    ) -> Result<u64, Refusal> {
        let parent = match place {
            Place::Root => None,
            Place::Inside(id) => Some(self.usable(client, id)?),
            Place::Current => {
                let current = self.current(client).ok_or(Refusal::NotOpen)?;
                Some(self.usable(client, current)?)
            }
        };
        let transaction = match parent {
            None => self.new_root(isolation, at)?,
            Some(parent) => {
                let outer = &self.open[&(client, parent)];
                if isolation.is_some_and(|isolation| isolation != outer.isolation) || at.is_some() {
                    return Err(Refusal::Argument);
                }
                if self.depth(client, parent) == NESTING_MAX {
                    return Err(Refusal::Limit);
                }
                Transaction { parent: Some(parent), ..outer.clone() }
            }
        };
        let begun = self.begun.entry(client).or_insert(0);
        *begun += 1;
        self.open.insert((client, *begun), transaction);
        Ok(*begun)
    }

    fn new_root(
        &self,
        isolation: Option<Isolation>,
        at: Option<u64>,
    ) -> Result<Transaction, Refusal> {
        let isolation = isolation.unwrap_or(Isolation::Serializable);
        let view = at.unwrap_or(self.revision);
        if view > self.revision || (at.is_some() && isolation != Isolation::Readonly) {
            return Err(Refusal::Argument);
        }
        let writes = BTreeMap::new();
        let view_ms = if at.is_some() { self.time_of(view) } else { self.now_ms };
        Ok(Transaction { parent: None, isolation, view, aborted: false, view_ms, writes })
    }

    /// COMMIT; `id` is `None` where the client names none. Open children are committed first.
    ///
    /// # Errors
    /// As the command would.
    pub fn commit(&mut self, client: u32, id: Option<u64>) -> Result<(), Refusal> {
        let id = self.named(client, id)?.ok_or(Refusal::NotOpen)?;
        if self.open[&(client, id)].aborted {
            return Err(Refusal::Aborted);
        }
        for id in self.with_descendants(client, id).into_iter().rev() {
            let Some(transaction) = self.open.remove(&(client, id)) else { continue };
            match transaction.parent.and_then(|parent| self.open.get_mut(&(client, parent))) {
                Some(outer) => {
                    outer.writes = transaction.writes;
                    let own = outer.writes.values_mut().filter(|write| write.owner == id);
                    own.for_each(|write| write.owner = transaction.parent.unwrap_or(write.owner));
                }
                None => {
                    self.open.insert(
                        (client, id),
                        Transaction { writes: BTreeMap::new(), ..transaction.clone() },
                    );
                    self.install(client, id, transaction.writes);
                    self.open.remove(&(client, id));
                    self.judged.remove(&(client, id));
                }
            }
        }
        Ok(())
    }

    /// ROLLBACK; open children are rolled back first, an aborted tree ends as a whole.
    ///
    /// # Errors
    /// As the command would.
    pub fn rollback(&mut self, client: u32, id: Option<u64>) -> Result<(), Refusal> {
        let id = self.named(client, id)?.ok_or(Refusal::NotOpen)?;
        let aborted = self.open[&(client, id)].aborted;
        let top = if aborted { self.root(client, id) } else { id };
        for id in self.with_descendants(client, top) {
            self.open.remove(&(client, id));
            self.judged.remove(&(client, id));
        }
        Ok(())
    }

    /// COMMITALL: how many transactions ended, and the roots that could not.
    pub fn commit_all(&mut self, client: u32) -> (usize, Vec<u64>) {
        let (mut ended, mut failed) = (0, Vec::new());
        let roots: Vec<u64> = self
            .open_of(client)
            .iter()
            .filter(|open| open.parent.is_none())
            .map(|open| open.id)
            .collect();
        for root in roots {
            let count = self.with_descendants(client, root).len();
            match self.commit(client, Some(root)) {
                Ok(()) => ended += count,
                Err(_) => failed.push(root),
            }
        }
        (ended, failed)
    }

    /// What the server does to a victim: the whole tree is aborted.
    pub fn abort(&mut self, client: u32, id: u64) {
        let root = self.root(client, id);
        for id in self.with_descendants(client, root) {
            if let Some(transaction) = self.open.get_mut(&(client, id)) {
                transaction.aborted = true;
            }
        }
    }

    /// What is left when a client goes away: nothing of it.
    pub fn close(&mut self, client: u32) {
        self.open.retain(|&(owner, _), _| owner != client);
        self.begun.remove(&client);
        self.last_commit.remove(&client);
        self.judged.retain(|&(owner, _), _| owner != client);
    }

    /// Each write becomes the key's next version, all under one revision.
    pub(super) fn install(&mut self, client: u32, id: u64, writes: BTreeMap<Bytes, Write>) {
        let revision = self.revision + 1;
        let mut changed = false;
        for (key, write) in writes {
            let as_of_ms = self.as_of_ms(client, Some(id), &key);
            let is_there = self.committed(&key, self.revision, as_of_ms).is_some();
            if write.value.is_none() && !is_there {
                continue;
            }
            let versions = self.keys.entry(key).or_default();
            let version = versions.len() as u64 + 1;
            let (value, expires_ms) = (write.value, write.expires_ms);
            versions.push(Version { version, revision, value, time_ms: self.now_ms, expires_ms });
            changed = true;
        }
        if changed {
            self.revision = revision;
            self.times_ms.push(self.now_ms);
            self.last_commit.insert(client, revision);
        }
    }
}

/// Which transaction a command runs in.
impl Model {
    /// The one that this client began last and that is still open.
    #[must_use]
    pub fn current(&self, client: u32) -> Option<u64> {
        self.open_of(client).last().map(|open| open.id)
    }

    /// The client's open ones, by id.
    #[must_use]
    pub fn open_of(&self, client: u32) -> Vec<Open> {
        let own = self.open.range((client, 0)..=(client, u64::MAX));
        own.map(|(&(_, id), transaction)| Open {
            id,
            parent: transaction.parent,
            isolation: transaction.isolation,
            aborted: transaction.aborted,
        })
        .collect()
    }

    /// The outermost transaction around this one.
    #[must_use]
    pub fn root(&self, client: u32, id: u64) -> u64 {
        let parent = self.open.get(&(client, id)).and_then(|transaction| transaction.parent);
        parent.map_or(id, |parent| self.root(client, parent))
    }

    /// How many levels: 1 for a root.
    #[must_use]
    pub fn depth(&self, client: u32, id: u64) -> usize {
        let parent = self.open.get(&(client, id)).and_then(|transaction| transaction.parent);
        1 + parent.map_or(0, |parent| self.depth(client, parent))
    }

    /// The transaction that a command runs in: the named one, or the current one, or none.
    ///
    /// # Errors
    /// When it is not open, aborted, or has an open child.
    pub fn runs_in(&self, client: u32, id: Option<u64>) -> Result<Option<u64>, Refusal> {
        let id = self.named(client, id)?;
        id.map(|id| self.usable(client, id)).transpose()
    }

    fn named(&self, client: u32, id: Option<u64>) -> Result<Option<u64>, Refusal> {
        match id {
            Some(id) if !self.open.contains_key(&(client, id)) => Err(Refusal::NotOpen),
            Some(id) => Ok(Some(id)),
            None => Ok(self.current(client)),
        }
    }

    fn usable(&self, client: u32, id: u64) -> Result<u64, Refusal> {
        let transaction = self.open.get(&(client, id)).ok_or(Refusal::NotOpen)?;
        if transaction.aborted {
            return Err(Refusal::Aborted);
        }
        if self.with_descendants(client, id).len() > 1 { Err(Refusal::Busy) } else { Ok(id) }
    }

    /// The transaction, its open child, that one's, … (there is at most one each).
    fn with_descendants(&self, client: u32, id: u64) -> Vec<u64> {
        let mut chain = vec![id];
        for open in self.open_of(client) {
            if open.parent.is_some() && open.parent == chain.last().copied() {
                chain.push(open.id);
            }
        }
        chain
    }
}
