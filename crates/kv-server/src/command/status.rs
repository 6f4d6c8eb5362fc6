//! LOCKS, SHARDS, STATS, CHECK, HELP: what the server says of itself.

use kv_core::{ShardStats, Step};
use kv_persist::store::StoreStats;
use kv_protocol::command::{self, CommandSpec, help};
use kv_protocol::reply::{ShardLoad, StatValue};
use kv_protocol::{ListKind, Reply, Row};

use super::listing::{Locks, Source};
use super::{Client, Next};
use crate::memory;

impl Client {
    pub(super) fn locks(&mut self) -> Next {
        let locks = Locks(Box::new(self.server.database().locks()));
        self.listing(Source::Locks(locks), None)
    }

    pub(super) fn shards(&mut self, out: &mut Vec<u8>, with_load: bool) -> Step<Next> {
        let shards = self.server.database().shards();
        self.session.depend_on_newest();
        let rows = shards.iter().map(|shard| Row::Shard {
            index: shard.index.0 as u64,
            keys: shard.keys as u64,
            bytes: shard.bytes as u64,
            load: with_load.then_some(ShardLoad {
                resident: shard.resident_keys as u64,
                memory_bytes: shard.memory_bytes as u64,
                reads: shard.reads,
                fetches: shard.fetches,
                evictions: shard.evictions,
            }),
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
        let of_files = self.server.store().map(|store| file_stats(&store.stats()));
        let of_memory = self.memory_stats();
        let stats = stats.into_iter().chain(of_memory).chain(of_files.into_iter().flatten());
        self.session.depend_on_newest();
        self.list(out, ListKind::Stats, stats.map(|(name, value)| Row::Stat { name, value }))
    }

    /// The rows of STATS about memory, and what had to be fetched because it is bounded.
    fn memory_stats(&self) -> [(&'static str, StatValue<'static>); 9] {
        let database = self.server.database();
        let shards = database.shards();
        let sum = |of: fn(&ShardStats) -> u64| StatValue::Number(shards.iter().map(of).sum());
        let bound = self.server.memory_bytes_max();
        let store_bound = database.memory().map(|(bytes_max, _)| bytes_max as u64);
        [
            ("memory_bytes_max", or_none(bound)),
            ("memory_resident_bytes", or_none(memory::resident_bytes())),
            ("store_memory_bytes_max", or_none(store_bound)),
            ("store_memory_bytes", sum(|shard| shard.memory_bytes as u64)),
            ("keys_resident", sum(|shard| shard.resident_keys as u64)),
            // A read that paused for a fetch is counted again when it has its key.
            ("cache_hits", sum(|shard| shard.reads.saturating_sub(2 * shard.fetches))),
            ("cache_misses", sum(|shard| shard.fetches)),
            ("cache_misses_in_vain", sum(|shard| shard.fetched_nothing)),
            ("cache_evictions", sum(|shard| shard.evictions)),
        ]
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
        let is_there = |row: &Row<'_>| match row {
            // In the list of all commands, a row's topic is a usage line.
            Row::Help { topic, .. } if spec.is_none() => {
                let verb = topic.split(' ').next().unwrap_or_default();
                command::find(verb.as_bytes()).is_none_or(|spec| self.server.has_command(spec))
            }
            _ => true,
        };
        self.list(out, ListKind::Help, help(spec).into_iter().filter(is_there))
    }
}

fn or_none(number: Option<u64>) -> StatValue<'static> {
    number.map_or(StatValue::Text("none"), StatValue::Number)
}

/// The rows of STATS about the log and the snapshot.
fn file_stats(stats: &StoreStats) -> [(&'static str, StatValue<'static>); 20] {
    let number = StatValue::Number;
    let (log, fold) = (&stats.log, &stats.checkpoint);
    [
        ("log_segments", number(log.segments)),
        ("log_bytes", number(log.held_bytes)),
        ("log_bytes_max", number(stats.log_bytes_max)),
        ("log_written_bytes", number(log.written_bytes)),
        ("log_commits", number(log.records)),
        ("log_batches", number(log.batches)),
        ("log_syncs", number(log.syncs)),
        ("log_durable_revision", number(log.synced.0)),
        ("disk_full", number(u64::from(log.is_full))),
        ("writers_slowed", number(u64::from(log.held_bytes >= stats.log_bytes_max))),
        ("snapshot_revision", number(fold.through.0)),
        ("snapshot_bytes", number(fold.snapshot.file_bytes)),
        ("snapshot_wal_bytes", number(fold.snapshot.wal_bytes)),
        ("snapshot_keys", or_none(fold.snapshot.keys)),
        ("snapshot_older_versions", or_none(fold.snapshot.older_versions)),
        ("checkpoint_folds", number(fold.folds)),
        ("checkpoint_keys", number(fold.keys)),
        ("checkpoint_cpu_ms", number(fold.cpu_time.as_millis() as u64)),
        ("checkpoint_failures", number(u64::from(fold.failures))),
        (
            "checkpoint_last_ms",
            number(u64::try_from(fold.last_run.as_millis()).unwrap_or(u64::MAX)),
        ),
    ]
}
