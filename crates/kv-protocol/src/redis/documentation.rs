//! Keeps `docs/REDIS.md` and the registry of the dialect the same.
//!
//! The tables between the two markers are what [`generate`] makes of the registry. To bring them up
//! to date, run the test once with `UPDATE_DOCS=1`.

use std::fmt::Write;

use super::{REDIS_COMMANDS, RedisGroup, RedisSpec};
use crate::command::documentation::keep;

/// Commands for strings and keys that Redis has and this does not, and why.
const ABSENT: [(&str, &str); 17] = [
    ("lcs", "compares two values; a client can"),
    ("substr", "the old name of `GETRANGE`"),
    ("getbit, setbit, bitcount, bitpos, bitop, bitfield", "bitmaps"),
    ("pfadd, pfcount, pfmerge", "counts of what is different"),
    ("delex, digest, msetex", "of Redis 8; `KV DEL key IF VERSION n` deletes what is unchanged"),
    ("move, swapdb", "there is one database"),
    ("dump, restore, migrate", "in a form of Redis's own; see export and import"),
    ("object, memory, debug, latency, slowlog, monitor", "about the inside of Redis"),
    ("sort, sort_ro", "of lists and sets"),
    ("wait, waitaof", "every reply waits for the disk, if that is how the server is started"),
    ("eval, evalsha, script, function, fcall", "no scripts; `BEGIN` begins a real transaction"),
    ("subscribe, publish, pubsub", "no messages"),
    ("client", "`REPLY`, `TRACKING`, `PAUSE`, `NO-EVICT` and what else is not shown above"),
    ("config", "`REWRITE`, `RESETSTAT`"),
    ("acl", "no users yet"),
    ("replicaof, psync, cluster, failover", "one server"),
    ("bgrewriteaof", "the log is folded all the time"),
];

fn generate() -> String {
    let mut page = String::new();
    for group in RedisGroup::ALL {
        let name = group.as_str();
        let title = name[..1].to_uppercase() + &name[1..];
        writeln!(page, "\n### {title}\n\n| command | what | as in Redis |\n|---|---|---|").unwrap();
        for spec in REDIS_COMMANDS.iter().filter(|spec| spec.group == group) {
            generate_row(&mut page, spec);
        }
    }
    writeln!(page, "\n### Absent\n\n| command | why |\n|---|---|").unwrap();
    for (names, why) in ABSENT {
        writeln!(page, "| `{}` | {why} |", names.to_uppercase()).unwrap();
    }
    page.push('\n');
    page
}

fn generate_row(page: &mut String, spec: &RedisSpec) {
    let usage = format!("{} {}", spec.name.to_uppercase(), spec.syntax);
    let usage = usage.trim_end().replace('|', "\\|");
    let differs = if spec.differs.is_empty() { "same" } else { spec.differs };
    writeln!(page, "| `{usage}` | {} | {differs} |", spec.summary).unwrap();
}

#[test]
fn the_redis_page_has_every_command_as_the_registry_has_it() {
    keep("REDIS.md", &generate());
}
