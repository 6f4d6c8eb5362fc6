//! Which server a key belongs to: consistent hashing (D. Karger et al., 1997) with many points for
//! each server.
//!
//! A key belongs to the server of the first point at or after the key's hash, around the ring. A
//! new server takes over what lies before its own points, from all others alike: of `n` servers the
//! last one gets about `1/n` of the keys, and no other key moves.
//!
//! Points depend on nothing but the server's name and their number, so that every client, now and
//! in later versions, finds the same ring: `xxh3_64(name, seed = number)`. A key's hash is
//! `xxh3_64(tag)`, where the tag is what stands between the first `{` and the next `}`, if that is
//! not empty, and the whole key otherwise; so keys with the same tag stay together.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::limits::POINTS_PER_SERVER;

/// Servers, by number, on a ring.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    /// In their order around the ring, each with its server.
    points: Vec<(u64, usize)>,
}

impl Ring {
    /// The ring of these servers.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut points: Vec<(u64, usize)> = names
            .into_iter()
            .enumerate()
            .flat_map(|(server, name)| {
                (0..POINTS_PER_SERVER)
                    .map(move |at| (xxh3_64_with_seed(name.as_bytes(), at.into()), server))
            })
            .collect();
        points.sort_unstable();
        Ring { points }
    }

    /// The server of a key. The ring must have one.
    pub(super) fn server_of(&self, key: &[u8]) -> usize {
        let hash = xxh3_64(tag(key));
        let at = self.points.partition_point(|(point, _)| *point < hash);
        self.points[at % self.points.len()].1
    }
}

/// What decides where a key belongs.
fn tag(key: &[u8]) -> &[u8] {
    let braces = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    braces.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 100_000;

    fn owners(names: &[&str]) -> Vec<usize> {
        let ring = Ring::of(names.iter().copied());
        (0..KEYS).map(|key| ring.server_of(format!("key:{key}").as_bytes())).collect()
    }

    #[test]
    fn another_server_takes_its_share_and_nothing_else_moves() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:7878")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for servers in 1..10 {
            let before = owners(&names[..servers]);
            let after = owners(&names[..=servers]);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert!(moved.clone().all(|(_, after)| *after == servers), "only to the new one");
            let share = moved.count() as f64 / KEYS as f64;
            let fair = 1.0 / (servers + 1) as f64;
            assert!((0.75..1.25).contains(&(share / fair)), "{servers}: {share} of {fair}");
        }
    }

    #[test]
    fn servers_have_about_the_same_number_of_keys() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:7878")).collect();
        let owners = owners(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for server in 0..10 {
            let keys = owners.iter().filter(|owner| **owner == server).count();
            assert!((KEYS / 10 * 7 / 10..KEYS / 10 * 13 / 10).contains(&keys), "{server}: {keys}");
        }
    }

    #[test]
    fn keys_with_one_tag_stay_together() {
        assert_eq!(tag(b"{ann}:name"), b"ann");
        assert_eq!(tag(b"of {ann} and {bob}"), b"ann");
        assert_eq!(tag(b"{}:name"), b"{}:name");
        assert_eq!(tag(b"{ann"), b"{ann");
        assert_eq!(tag(b"ann}"), b"ann}");
    }

    /// A client of another version must find the same server.
    #[test]
    fn the_ring_never_changes() {
        let ring = Ring::of(["a:1", "b:1", "c:1"]);
        let owners: Vec<usize> =
            (0..16).map(|key| ring.server_of(format!("key:{key}").as_bytes())).collect();
        assert_eq!(owners, GOLDEN);
    }

    const GOLDEN: [usize; 16] = [0, 2, 2, 1, 1, 2, 0, 1, 0, 1, 0, 0, 0, 1, 2, 2];
}
