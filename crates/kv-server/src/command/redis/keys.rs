//! DEL, EXPIRE, SCAN and all that works on keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use kv_core::{
    Conditions, Interval, Mode, Pattern, Pause, Scan as Rows, ScanOptions, Step, TxnId, Update,
};
use kv_protocol::redis::{AtTime, ExpireIf, RedisCommand, Refusal, Scan, TtlForm};
use kv_protocol::resp::write;

use super::super::listing::Source;
use super::strings::{expiring, locks, resolved, taken};
use super::{Client, Next, Run};
use crate::limits::{CURSOR_BYTES_MAX, CURSORS_MAX, SCAN_COUNT_MAX};

const NO_SUCH_KEY: Refusal = Refusal::new("ERR no such key");

impl Client {
    pub(super) fn redis_del(
        &mut self,
        keys: &[&[u8]],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let deleted = match keys {
            [key] => i64::from(self.session.delete(txn, key, None)?),
            keys => {
                let locks = locks(keys.iter().copied(), Mode::Exclusive);
                self.session.group(txn, &locks, |session| {
                    let deleted = keys.iter().map(|key| session.delete(None, key, None));
                    deleted.map(|deleted| deleted.map(i64::from)).sum::<Step<i64>>()
                })?
            }
        };
        write::integer(out, deleted);
        Ok(())
    }

    pub(super) fn redis_exists(
        &mut self,
        keys: &[&[u8]],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let there = match keys {
            [key] => i64::from(self.session.exists(txn, key)?),
            keys => self.session.read_group(txn, |session, txn| {
                let there = keys.iter().map(|key| session.exists(txn, key));
                there.map(|there| there.map(i64::from)).sum::<Step<i64>>()
            })?,
        };
        write::integer(out, there);
        Ok(())
    }

    pub(super) fn redis_expire(
        &mut self,
        command: &str,
        key: &[u8],
        at: AtTime,
        only_if: ExpireIf,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let now_ms = self.session.now_ms();
        let at_ms = resolved(command, at, now_ms)?;
        let mut is_done = false;
        self.session.modify(txn, key, None, |there| {
            let Some(there) = there else { return Ok(Update::Keep) };
            let before = there.expires_ms;
            // Never is later than all.
            let is_later = before.is_some_and(|before| at_ms > before);
            let is_sooner = before.is_none_or(|before| at_ms < before);
            is_done = !(only_if.never && before.is_some()
                || only_if.expires && before.is_none()
                || only_if.later && !is_later
                || only_if.sooner && !is_sooner);
            Ok(if is_done { expiring(there, Some(at_ms), now_ms) } else { Update::Keep })
        })?;
        write::integer(out, i64::from(is_done));
        Ok(())
    }

    pub(super) fn redis_ttl(
        &mut self,
        key: &[u8],
        form: TtlForm,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let Some(meta) = self.session.meta(txn, key)? else {
            write::integer(out, -2);
            return Ok(());
        };
        let ms = if form.is_absolute { meta.expires_ms } else { meta.ttl_ms };
        let shown = ms.map(|ms| if form.in_ms { ms } else { (ms + 500) / 1000 });
        write::integer(out, shown.map_or(-1, |shown| i64::try_from(shown).unwrap_or(i64::MAX)));
        Ok(())
    }

    pub(super) fn redis_persist(
        &mut self,
        key: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let mut is_done = false;
        self.session.modify(txn, key, None, |there| {
            let mortal = there.filter(|there| there.expires_ms.is_some());
            is_done = mortal.is_some();
            Ok(mortal.map_or(Update::Keep, |there| expiring(there, None, 0)))
        })?;
        write::integer(out, i64::from(is_done));
        Ok(())
    }

    pub(super) fn type_of(&mut self, key: &[u8], txn: Option<TxnId>, out: &mut Vec<u8>) -> Run<()> {
        let is_there = self.session.exists(txn, key)?;
        write::simple(out, if is_there { "string" } else { "none" });
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: &[u8],
        to: &[u8],
        if_absent: bool,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let locks = locks([from, to].into_iter(), Mode::Exclusive);
        // None: there is no such key; else whether it was renamed.
        let renamed = self.session.group(txn, &locks, |session| {
            if from == to || (if_absent && session.exists(None, to)?) {
                return Ok(session.exists(None, from)?.then_some(from == to && !if_absent));
            }
            let Some(put) = taken(session, from, Update::Delete)? else { return Ok(None) };
            session.modify(None, to, None, |_| Ok(put.clone()))?;
            Ok(Some(true))
        })?;
        match (renamed, if_absent) {
            (None, _) => return Err(NO_SUCH_KEY.into()),
            (Some(renamed), true) => write::integer(out, i64::from(renamed)),
            (Some(_), false) => write::simple(out, "OK"),
        }
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        from: &[u8],
        to: &[u8],
        replace: bool,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let mut locks = locks([to].into_iter(), Mode::Exclusive);
        locks.key(from, Mode::Shared);
        let copied = self.session.group(txn, &locks, |session| {
            let Some(value) = session.get(None, from)? else { return Ok(false) };
            let expires_ms = session.meta(None, from)?.and_then(|meta| meta.expires_ms);
            if !replace && session.exists(None, to)? {
                return Ok(false);
            }
            let (kind, value) = (value.kind(), value.bytes().to_vec());
            let put = Update::Put { value, kind, expires_ms };
            session.modify(None, to, None, |_| Ok(put.clone()))?;
            Ok(true)
        })?;
        write::integer(out, i64::from(copied));
        Ok(())
    }

    // ---- Many keys.

    pub(super) fn list_keys(
        &mut self,
        pattern: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        let Some(pattern) = redis_glob(pattern) else {
            write::array(out, 0);
            return Ok(Next::Request);
        };
        let conditions = Conditions { key: Some(pattern), ..Conditions::default() };
        let options = ScanOptions { conditions, ..ScanOptions::default() };
        if self.dialect.exec_at.is_some() {
            let keys = self.collected(&options, None)?;
            write::array(out, keys.len());
            keys.iter().for_each(|key| write::bulk(out, key));
            return Ok(Next::Request);
        }
        let scan = self.session.scan(txn, &options)?;
        let txn = txn.or_else(|| self.session.current());
        Ok(self.listing(Source::Keys(scan), txn))
    }

    /// All keys of a scan. One that has to pause is kept until the command is called again, and
    /// goes on where it was: a new one would read another state. Of those that EXEC runs, each
    /// keeps its own, to the end of all.
    fn collected(&mut self, options: &ScanOptions, txn: Option<TxnId>) -> Step<Vec<Vec<u8>>> {
        let at = self.dialect.exec_at.unwrap_or(0);
        let mut collecting = match self.dialect.collecting.remove(&at) {
            Some(collecting) => collecting,
            None => Collecting { scan: self.session.scan(txn, options)?, keys: Vec::new() },
        };
        loop {
            match collecting.scan.next_key_row() {
                Ok(Some(row)) => collecting.keys.push(row.key().to_vec()),
                Ok(None) if self.dialect.exec_at.is_none() => return Ok(collecting.keys),
                Ok(None) => {
                    let keys = collecting.keys.clone();
                    self.dialect.collecting.insert(at, collecting);
                    return Ok(keys);
                }
                Err(Pause::Failed(error)) => return Err(Pause::Failed(error)),
                Err(pause) => {
                    self.dialect.collecting.insert(at, collecting);
                    return Err(pause);
                }
            }
        }
    }

    pub(super) fn redis_scan(
        &mut self,
        scan: &Scan<'_>,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let after = match scan.cursor {
            0 => None,
            cursor => Some(self.server.cursors().find(cursor).ok_or(Refusal::new(
                "ERR the server does not remember this cursor any more; begin again with 0",
            ))?),
        };
        let count = scan.count.min(SCAN_COUNT_MAX);
        let pattern = scan.pattern.map(redis_glob);
        let is_hopeless = matches!(pattern, Some(None));
        let conditions = Conditions { key: pattern.flatten(), ..Conditions::default() };
        let narrowed = ScanOptions { conditions, ..ScanOptions::default() };
        let interval = match &after {
            Some(after) => narrowed.examined().after(after),
            None => narrowed.examined(),
        };
        let keys = if is_hopeless { Vec::new() } else { self.keys_in(interval, count, txn)? };
        let is_last = (keys.len() as u64) < count;
        let cursor = match keys.last() {
            Some(last) if !is_last => self.server.cursors().remember(last),
            _ => 0,
        };
        let fits = |key: &&Vec<u8>| {
            let pattern = narrowed.conditions.key.as_ref();
            scan.has_type && pattern.is_none_or(|pattern| pattern.matches(key))
        };
        let found: Vec<&Vec<u8>> = keys.iter().filter(fits).collect();
        write::array(out, 2);
        write::bulk(out, cursor.to_string().as_bytes());
        write::array(out, found.len());
        found.into_iter().for_each(|key| write::bulk(out, key));
        Ok(())
    }

    /// The first so many keys of an interval.
    fn keys_in(&mut self, interval: Interval, count: u64, txn: Option<TxnId>) -> Run<Vec<Vec<u8>>> {
        let options = ScanOptions { limit: Some(count), ..ScanOptions::of(interval) };
        Ok(self.collected(&options, txn)?)
    }

    /// The keys that KEYS or SCAN looks at, so that EXEC can lock them before.
    pub(super) fn interval_of(&self, command: &RedisCommand<'_>) -> Option<Interval> {
        let narrowed = |pattern: Option<Pattern>| {
            let conditions = Conditions { key: pattern, ..Conditions::default() };
            ScanOptions { conditions, ..ScanOptions::default() }.examined()
        };
        match command {
            RedisCommand::Keys(pattern) => redis_glob(pattern).map(|glob| narrowed(Some(glob))),
            RedisCommand::Scan(scan) => {
                let interval = narrowed(scan.pattern.and_then(redis_glob));
                match self.server.cursors().find(scan.cursor) {
                    Some(after) => Some(interval.after(&after)),
                    None => Some(interval),
                }
            }
            _ => None,
        }
    }

    pub(super) fn random_key(&mut self, out: &mut Vec<u8>) -> Run<()> {
        let random = RandomState::new().hash_one(0_u8);
        let mut key = self.server.database().random_key(random);
        // Not part of a transaction, so that EXEC has not locked all keys for it.
        if key.is_none() && self.dialect.exec_at.is_none() {
            // None is in memory: the first that is stored is as random as another.
            key = self.keys_in(Interval::all(), 1, None)?.pop();
        }
        self.session.depend_on_newest();
        match key {
            Some(key) => write::bulk(out, &key),
            None => write::null(out, self.dialect.version),
        }
        Ok(())
    }
}

/// A scan whose keys are collected.
#[derive(Debug)]
pub(super) struct Collecting {
    scan: Rows,
    keys: Vec<Vec<u8>>,
}

/// The glob as Redis reads it: a class that is not closed goes to the end, a backslash at the end
/// is one, and `!` in a class is nothing special. None if it fits nothing.
fn redis_glob(pattern: &[u8]) -> Option<Pattern> {
    let mut meant = Vec::with_capacity(pattern.len() + 1);
    let (mut is_in_class, mut bytes) = (false, pattern.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        meant.push(byte);
        match byte {
            b'\\' => meant.push(bytes.next().unwrap_or(b'\\')),
            b'[' if !is_in_class => {
                is_in_class = true;
                meant.extend(bytes.next_if_eq(&b'^'));
                if bytes.peek() == Some(&b'!') {
                    meant.push(b'\\');
                }
                // A class of nothing fits nothing.
                if bytes.peek() == Some(&b']') {
                    return None;
                }
            }
            b']' => is_in_class = false,
            _ => {}
        }
    }
    if is_in_class {
        meant.push(b']');
    }
    Pattern::glob(&meant).ok()
}

/// Where SCANs go on: cursors are numbers, and keys are longer than those.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    state: Mutex<CursorState>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct CursorState {
    /// Keys by cursor, each with when it was handed out last.
    keys: HashMap<u64, (Box<[u8]>, u64)>,
    /// Cursors by when they were handed out.
    ages: BTreeMap<u64, u64>,
    handed_out: u64,
    bytes: usize,
}

impl Cursors {
    /// A cursor that goes on after this key. The same key has the same cursor, so that those who
    /// scan the same need no room each.
    fn remember(&self, key: &[u8]) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Positive as a signed number too, as some clients read it; and not 0, which begins.
        let mut cursor = (self.hasher.hash_one(key) >> 1).max(1);
        while state.keys.get(&cursor).is_some_and(|(other, _)| **other != *key) {
            cursor = (cursor % (i64::MAX as u64)) + 1;
        }
        state.handed_out += 1;
        let now = state.handed_out;
        if let Some((_, before)) = state.keys.insert(cursor, (key.into(), now)) {
            state.ages.remove(&before);
        } else {
            state.bytes += key.len();
        }
        state.ages.insert(now, cursor);
        while state.keys.len() > CURSORS_MAX || state.bytes > CURSOR_BYTES_MAX {
            let Some((_, oldest)) = state.ages.pop_first() else { break };
            if let Some((key, _)) = state.keys.remove(&oldest) {
                state.bytes -= key.len();
            }
        }
        cursor
    }

    /// The key that a cursor goes on after.
    fn find(&self, cursor: u64) -> Option<Box<[u8]>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.keys.get(&cursor).map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_read_as_redis_does() {
        for (pattern, fits, others) in [
            ("h?llo", &["hello", "hxllo"][..], &["hllo", "heello"][..]),
            ("h[ae]llo", &["hallo", "hello"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[!a]", &["h!", "ha"], &["hb"]),
            ("a[bc", &["ab", "ac"], &["a", "a[bc"]),
            ("a\\", &["a\\"], &["a"]),
            ("a\\*", &["a*"], &["ab"]),
            ("a[]b", &[], &["ab", "a]b", "a[]b"]),
            ("*", &["", "x"], &[]),
        ] {
            let glob = redis_glob(pattern.as_bytes());
            let is_met = |text: &str| glob.as_ref().is_some_and(|g| g.matches(text.as_bytes()));
            fits.iter().for_each(|text| assert!(is_met(text), "{pattern} {text}"));
            others.iter().for_each(|text| assert!(!is_met(text), "{pattern} {text}"));
        }
    }

    #[test]
    fn cursors_are_remembered_up_to_a_bound() {
        let cursors = Cursors::default();
        let first = cursors.remember(b"first");
        assert_eq!(cursors.remember(b"first"), first);
        assert_eq!(cursors.find(first).as_deref(), Some(&b"first"[..]));
        for number in 0..CURSORS_MAX - 1 {
            cursors.remember(&number.to_be_bytes());
        }
        assert!(cursors.find(first).is_some());
        cursors.remember(b"one more");
        assert!(cursors.find(first).is_none());
        let state = cursors.state.lock().unwrap();
        assert_eq!((state.keys.len(), state.ages.len()), (CURSORS_MAX, CURSORS_MAX));
    }
}
