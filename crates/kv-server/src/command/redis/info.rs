//! INFO, DBSIZE, TIME, SAVE, SHUTDOWN: what the server says of itself, and what it is told to do.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use kv_core::ShardStats;
use kv_protocol::redis::Refusal;
use kv_protocol::resp::write;

use super::super::durability::Job;
use super::client::REDIS_VERSION;
use super::{Client, Next, Run};
use crate::memory;

/// The sections of INFO, and what writes each.
type Section = (&'static str, fn(&Client, &mut String) -> std::fmt::Result);
const SECTIONS: [Section; 8] = [
    ("server", Client::info_server),
    ("clients", Client::info_clients),
    ("memory", Client::info_memory),
    ("persistence", Client::info_persistence),
    ("stats", Client::info_stats),
    ("replication", |_, text| write!(text, "role:master\r\nconnected_slaves:0\r\n")),
    ("cpu", Client::info_cpu),
    ("keyspace", Client::info_keyspace),
];

const WITHOUT_FILES: Refusal =
    Refusal::new("ERR this server keeps everything in memory; start it without --in-memory");

impl Client {
    pub(super) fn redis_info(&mut self, sections: &[&[u8]], out: &mut Vec<u8>) {
        let is_all = |name: &[u8]| {
            let all = ["all", "everything", "default"];
            all.iter().any(|all| name.eq_ignore_ascii_case(all.as_bytes()))
        };
        let all = sections.is_empty() || sections.iter().any(|name| is_all(name));
        let is_asked_for = |name: &str| {
            all || sections.iter().any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()))
        };
        let mut text = String::new();
        for (name, tell) in SECTIONS.iter().filter(|(name, _)| is_asked_for(name)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let title = name[..1].to_uppercase() + &name[1..];
            // A String takes all that is written.
            let _ = write!(text, "# {title}\r\n").and_then(|()| tell(self, &mut text));
        }
        self.session.depend_on_newest();
        write::verbatim(out, self.dialect.version, &text);
    }

    fn info_server(&self, text: &mut String) -> std::fmt::Result {
        let uptime_s = self.server.uptime().as_secs();
        let port = self.server.config().listen.first().map(ToString::to_string);
        let port = port.as_deref().and_then(|address| address.rsplit_once(':'));
        write!(
            text,
            "redis_version:{REDIS_VERSION}\r\nkv_version:{}\r\nredis_mode:standalone\r\n\
             os:{} {}\r\narch_bits:{}\r\nprocess_id:{}\r\ntcp_port:{}\r\n\
             uptime_in_seconds:{uptime_s}\r\nuptime_in_days:{}\r\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            usize::BITS,
            std::process::id(),
            port.map_or("0", |(_, port)| port),
            uptime_s / (24 * 60 * 60),
        )
    }

    fn info_clients(&self, text: &mut String) -> std::fmt::Result {
        let (open, max) = (self.server.connections_open(), self.server.config().connections_max);
        write!(text, "connected_clients:{open}\r\nmaxclients:{max}\r\nblocked_clients:{}\r\n", {
            self.server.database().stats().lock_waits
        })
    }

    fn info_memory(&self, text: &mut String) -> std::fmt::Result {
        let shards = self.server.database().shards();
        let used: usize = shards.iter().map(|shard| shard.memory_bytes).sum();
        write!(
            text,
            "used_memory:{used}\r\nused_memory_rss:{}\r\nmaxmemory:{}\r\n",
            memory::resident_bytes().unwrap_or(0),
            self.server.memory_bytes_max().unwrap_or(0),
        )
    }

    fn info_persistence(&self, text: &mut String) -> std::fmt::Result {
        let Some(store) = self.server.store() else {
            return write!(text, "loading:0\r\naof_enabled:0\r\n");
        };
        let stats = store.stats();
        let status = |is_well: bool| if is_well { "ok" } else { "err" };
        write!(
            text,
            "loading:0\r\naof_enabled:1\r\naof_last_write_status:{}\r\naof_current_size:{}\r\n\
             rdb_last_save_time:{}\r\nrdb_last_bgsave_status:{}\r\n",
            status(!stats.log.is_full),
            stats.log.held_bytes,
            self.saved_s(),
            status(stats.checkpoint.failures == 0),
        )
    }

    fn info_stats(&self, text: &mut String) -> std::fmt::Result {
        let shards = self.server.database().shards();
        let sum = |of: fn(&ShardStats) -> u64| shards.iter().map(of).sum::<u64>();
        write!(
            text,
            "total_connections_received:{}\r\nkeyspace_hits:{}\r\nkeyspace_misses:{}\r\n\
             evicted_keys:{}\r\n",
            self.server.database().stats().sessions_begun,
            sum(|shard| shard.reads.saturating_sub(2 * shard.fetches)),
            sum(|shard| shard.fetches),
            sum(|shard| shard.evictions),
        )
    }

    fn info_cpu(&self, text: &mut String) -> std::fmt::Result {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        write!(text, "used_cpu_total:{}.{:09}\r\n", used.tv_sec, used.tv_nsec)
    }

    fn info_keyspace(&self, text: &mut String) -> std::fmt::Result {
        match self.keys() {
            0 => Ok(()),
            keys => write!(text, "db0:keys={keys},expires=0,avg_ttl=0\r\n"),
        }
    }

    fn keys(&self) -> usize {
        self.server.database().shards().iter().map(|shard| shard.keys).sum()
    }

    pub(super) fn db_size(&mut self, out: &mut Vec<u8>) {
        let keys = self.keys();
        // Of all that was counted.
        self.session.depend_on_newest();
        write::integer(out, i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(super) fn time(&self, out: &mut Vec<u8>) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write::array(out, 2);
        write::bulk(out, since_epoch.as_secs().to_string().as_bytes());
        write::bulk(out, since_epoch.subsec_micros().to_string().as_bytes());
    }

    // ---- The files.

    pub(super) fn save(&self) -> Run<Next> {
        match self.server.store() {
            Some(_) => Ok(Next::Job(Job::Checkpoint)),
            None => Err(WITHOUT_FILES.into()),
        }
    }

    pub(super) fn bg_save(&self, out: &mut Vec<u8>) -> Run<Next> {
        if self.server.store().is_none() {
            return Err(WITHOUT_FILES.into());
        }
        let admitted = self.server.jobs().admit(Job::Checkpoint);
        let admitted =
            admitted.map_err(|_| Refusal::new("ERR Background save already in progress"))?;
        write::simple(out, "Background saving started");
        Ok(Next::Background(admitted))
    }

    pub(super) fn last_save(&self, out: &mut Vec<u8>) {
        write::integer(out, i64::try_from(self.saved_s()).unwrap_or(i64::MAX));
    }

    /// When the log was folded last, in seconds since the Unix epoch; without files, or before the
    /// first time, when the server was started.
    fn saved_s(&self) -> u64 {
        let folded = self.server.store().and_then(|store| store.stats().checkpoint.last_ended);
        let ago = folded.map_or_else(|| self.server.uptime(), |folded| folded.elapsed());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(ago).as_secs()
    }

    pub(super) fn shut_down(&self) -> Run<Next> {
        match self.server.stop() {
            true => Ok(Next::Close),
            false => Err(Refusal::new("ERR Errors trying to SHUTDOWN. Check logs.").into()),
        }
    }
}
