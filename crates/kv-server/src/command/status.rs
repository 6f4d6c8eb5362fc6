//! LOCKS, SHARDS, STATS, CHECK, HELP: what the server says of itself.

use std::ops::Bound;

use kv_core::{LockTarget, Mode, Step};
use kv_protocol::command::{CommandSpec, help};
use kv_protocol::reply::{LockMode, LockState, StatValue};
use kv_protocol::{ListKind, Reply, Row};

use super::listing::millis;
use super::{Client, Next};

impl Client {
    pub(super) fn locks(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let locks = self.server.database().locks();
        let rows = locks.iter().map(|lock| Row::Lock {
            session: lock.holder.session.0,
            txn: Some(lock.holder.txn.0).filter(|&txn| txn > 0),
            target: match &lock.target {
                LockTarget::Key(key) => kv_protocol::reply::LockTarget::Key((&**key).into()),
                LockTarget::Range(interval) => kv_protocol::reply::LockTarget::Range {
                    from: match &*interval.from {
                        [] => Bound::Unbounded,
                        from => Bound::Included(from.into()),
                    },
                    to: match interval.to.as_deref() {
                        None => Bound::Unbounded,
                        Some(to) => Bound::Excluded(to.into()),
                    },
                },
            },
            mode: match lock.mode {
                Mode::Shared => LockMode::Shared,
                Mode::Exclusive => LockMode::Exclusive,
            },
            state: if lock.is_waiting { LockState::Waiting } else { LockState::Held },
            age_ms: millis(lock.age),
        });
        self.list(out, ListKind::Locks, rows)
    }

    pub(super) fn shards(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let shards = self.server.database().shards();
        let rows = shards.iter().map(|shard| Row::Shard {
            index: shard.index.0 as u64,
            keys: shard.keys as u64,
            bytes: shard.bytes as u64,
        });
        self.list(out, ListKind::Shards, rows)
    }

    pub(super) fn stats(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let store = self.server.database().stats();
        let number = |value: usize| StatValue::Number(value as u64);
        let stats = [
            ("version", StatValue::Text(env!("CARGO_PKG_VERSION"))),
            ("uptime_s", StatValue::Number(self.server.uptime().as_secs())),
            ("connections", number(self.server.connections_open())),
            ("connections_max", number(self.server.config().connections_max)),
            ("sessions_begun", StatValue::Number(store.sessions_begun)),
            ("keys", number(store.keys)),
            ("versions", number(store.versions)),
            ("record_bytes", number(store.bytes)),
            ("revision", StatValue::Number(store.revision.0)),
            ("shards", number(self.server.config().shards)),
            ("transactions_open", number(store.transactions_open)),
            ("read_views_open", number(store.views_open)),
            ("lock_waits", number(store.lock_waits)),
        ];
        let rows = stats.into_iter().map(|(name, value)| Row::Stat { name, value });
        self.list(out, ListKind::Stats, rows)
    }

    pub(super) fn check(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        self.server.database().check()?;
        self.reply(out, &Reply::Done)
    }

    pub(super) fn help(
        &mut self,
        out: &mut Vec<u8>,
        spec: Option<&'static CommandSpec>,
    ) -> Step<Next> {
        self.list(out, ListKind::Help, help(spec).into_iter())
    }
}
