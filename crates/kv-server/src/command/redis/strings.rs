//! GET, SET and all that works on values.

use kv_core::{
    Condition, Datum, Error, GroupLocks, Mode, Pause, Session, Step, TxnId, Update, Value,
    ValueKind,
};
use kv_protocol::redis::number::{FloatFault, float_sum};
use kv_protocol::redis::{AtTime, Expiry, Refusal, Set, SetAnswer, part_of};
use kv_protocol::resp::write;

use super::{Client, Run};
use crate::storage::held_bytes_max;

const TOO_LONG: Refusal =
    Refusal::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// The moment that a client means, in milliseconds since the Unix epoch; 0 is any time before.
pub(super) fn resolved(command: &str, at: AtTime, now_ms: u64) -> Result<u64, Refusal> {
    let at_ms = match at {
        AtTime::AtMs(at_ms) => at_ms,
        AtTime::InMs(in_ms) => {
            let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
            now_ms.checked_add(in_ms).ok_or_else(|| {
                Refusal::from(format!("ERR invalid expire time in '{command}' command"))
            })?
        }
    };
    Ok(u64::try_from(at_ms).unwrap_or(0))
}

/// The update that leaves the value and has it expire at another time; one that is past deletes.
pub(super) fn expiring(there: Datum<'_>, expires_ms: Option<u64>, now_ms: u64) -> Update {
    if expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return Update::Delete;
    }
    Update::Put { value: there.bytes.to_vec(), kind: there.kind, expires_ms }
}

/// The update of a value that is written anew and expires when it did.
fn text(value: Vec<u8>, there: Option<&Datum<'_>>) -> Update {
    let expires_ms = there.and_then(|there| there.expires_ms);
    Update::Put { value, kind: ValueKind::Text, expires_ms }
}

impl Client {
    #[inline]
    pub(super) fn redis_get(
        &mut self,
        key: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        match self.session.get(txn, key)? {
            Some(value) => write::bulk(out, value.bytes()),
            None => write::null(out, self.dialect.version),
        }
        Ok(())
    }

    fn bulk_or_null(&self, value: Option<&[u8]>, out: &mut Vec<u8>) {
        match value {
            Some(value) => write::bulk(out, value),
            None => write::null(out, self.dialect.version),
        }
    }

    pub(super) fn redis_set(
        &mut self,
        command: &str,
        set: &Set<'_>,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let (mut expires_ms, mut is_past) = (None, false);
        if let Expiry::At(at) = set.expiry {
            let now_ms = self.session.now_ms();
            let at_ms = resolved(command, at, now_ms)?;
            (expires_ms, is_past) = (Some(at_ms), at_ms <= now_ms);
        }
        if is_past || set.answer == SetAnswer::Old || set.expiry == Expiry::Keep {
            return self.set_by_what_is_there(set, expires_ms, is_past, txn, out);
        }
        let condition = set.if_there.map(|is_there| match is_there {
            true => Condition::Present,
            false => Condition::Absent,
        });
        let (key, value, kind) = (set.key, set.value, ValueKind::Text);
        let outcome = match expires_ms {
            None => self.session.put(txn, key, value, kind, condition),
            Some(at_ms) => self.session.put_until(txn, key, value, kind, condition, at_ms),
        };
        let is_done = met(outcome)?;
        match (set.answer, is_done) {
            (SetAnswer::Number, is_done) => write::integer(out, i64::from(is_done)),
            (_, true) => write::simple(out, "OK"),
            (_, false) => write::null(out, self.dialect.version),
        }
        Ok(())
    }

    /// SET with GET or KEEPTTL, or with a time that is past, so that nothing will be there.
    fn set_by_what_is_there(
        &mut self,
        set: &Set<'_>,
        expires_ms: Option<u64>,
        is_past: bool,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let (mut old, mut is_done) = (None, false);
        // An old value may be long, and is then not copied under a latch.
        let is_short = set.answer != SetAnswer::Old;
        let bytes_max = Some(set.value.len()).filter(|_| is_short);
        self.session.modify(txn, set.key, bytes_max, |there| {
            if set.answer == SetAnswer::Old {
                old = there.as_ref().map(|there| there.bytes.to_vec());
            }
            is_done = set.if_there.is_none_or(|wanted| wanted == there.is_some());
            if !is_done {
                return Ok(Update::Keep);
            }
            if is_past {
                return Ok(Update::Delete);
            }
            let kept = there.and_then(|there| there.expires_ms);
            let expires_ms = if set.expiry == Expiry::Keep { kept } else { expires_ms };
            Ok(Update::Put { value: set.value.to_vec(), kind: ValueKind::Text, expires_ms })
        })?;
        match set.answer {
            SetAnswer::Old => self.bulk_or_null(old.as_deref(), out),
            _ if is_done => write::simple(out, "OK"),
            _ => write::null(out, self.dialect.version),
        }
        Ok(())
    }

    pub(super) fn get_del(&mut self, key: &[u8], txn: Option<TxnId>, out: &mut Vec<u8>) -> Run<()> {
        let mut old = None;
        self.session.modify(txn, key, None, |there| {
            old = there.map(|there| there.bytes.to_vec());
            Ok(Update::Delete)
        })?;
        self.bulk_or_null(old.as_deref(), out);
        Ok(())
    }

    pub(super) fn get_ex(
        &mut self,
        key: &[u8],
        expiry: &Result<Expiry, Refusal>,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let now_ms = self.session.now_ms();
        let expires_ms = match expiry {
            Ok(Expiry::At(at)) => resolved("getex", *at, now_ms).map(Some),
            Ok(Expiry::Never) => Ok(None),
            Ok(Expiry::Default | Expiry::Keep) => return self.redis_get(key, txn, out),
            Err(refusal) => Err(refusal.clone()),
        };
        let expires_ms = match expires_ms {
            Ok(expires_ms) => expires_ms,
            Err(_) if !self.session.exists(txn, key)? => {
                write::null(out, self.dialect.version);
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let mut value = None;
        self.session.modify(txn, key, None, |there| {
            value = there.map(|there| there.bytes.to_vec());
            Ok(match there {
                // Without a time to take away, nothing changes.
                Some(there) if (there.expires_ms, expires_ms) == (None, None) => Update::Keep,
                Some(there) => expiring(there, expires_ms, now_ms),
                None => Update::Keep,
            })
        })?;
        self.bulk_or_null(value.as_deref(), out);
        Ok(())
    }

    pub(super) fn mget(
        &mut self,
        keys: &[&[u8]],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let bytes_max = held_bytes_max(self.server.config());
        // What it has read stays so in the view that it reads in, or locked: it goes on with the
        // rest after a pause. Within EXEC it is run anew.
        let mut values = std::mem::take(&mut self.dialect.values);
        let mut bytes: usize = values.iter().flatten().map(|value| value.bytes().len()).sum();
        let read = self.session.read_group(txn, |session, txn| {
            while let Some(key) = keys.get(values.len()) {
                let value = session.get(txn, key)?;
                bytes += value.as_ref().map_or(0, |value| value.bytes().len());
                values.push(value);
                if bytes > bytes_max && values.len() > 1 {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        if read.is_err() && self.dialect.exec_at.is_none() {
            if let Err(Pause::Fetch(_) | Pause::Lock(_) | Pause::Yield) = read {
                self.dialect.values = values;
            }
            return Ok(read.map(|_| ())?);
        }
        if !read? {
            let text = format!("LIMIT a reply has at most {bytes_max} bytes; ask for fewer keys");
            return Err(Refusal::from(text).into());
        }
        write::array(out, values.len());
        for value in &values {
            self.bulk_or_null(value.as_ref().map(Value::bytes), out);
        }
        Ok(())
    }

    pub(super) fn mset(
        &mut self,
        pairs: &[&[u8]],
        if_absent: bool,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let keys = || pairs.iter().step_by(2).copied();
        let is_done = self.session.group(txn, &locks(keys(), Mode::Exclusive), |session| {
            if if_absent {
                for key in keys() {
                    if session.exists(None, key)? {
                        return Ok(false);
                    }
                }
            }
            for pair in pairs.chunks_exact(2) {
                session.put(None, pair[0], pair[1], ValueKind::Text, None)?;
            }
            Ok(true)
        })?;
        match if_absent {
            true => write::integer(out, i64::from(is_done)),
            false => write::simple(out, "OK"),
        }
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        key: &[u8],
        more: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let mut length = 0;
        let appended = self.session.modify(txn, key, None, |there| {
            let old = there.as_ref().map_or(&b""[..], |there| there.bytes);
            length = old.len() + more.len();
            Ok(text([old, more].concat(), there.as_ref()))
        });
        not_too_long(appended)?;
        write::integer(out, i64::try_from(length).unwrap_or(i64::MAX));
        Ok(())
    }

    pub(super) fn str_len(&mut self, key: &[u8], txn: Option<TxnId>, out: &mut Vec<u8>) -> Run<()> {
        let length = self.session.meta(txn, key)?.map_or(0, |meta| meta.value_bytes);
        write::integer(out, i64::try_from(length).unwrap_or(i64::MAX));
        Ok(())
    }

    pub(super) fn get_range(
        &mut self,
        key: &[u8],
        start: i64,
        end: i64,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let value = self.session.get(txn, key)?;
        let value = value.as_ref().map_or(&b""[..], Value::bytes);
        write::bulk(out, &value[part_of(value.len(), start, end)]);
        Ok(())
    }

    pub(super) fn set_range(
        &mut self,
        key: &[u8],
        offset: usize,
        part: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let bytes_max = self.server.config().value_bytes_max;
        let end = offset.checked_add(part.len()).filter(|end| *end <= bytes_max);
        let Some(end) = end else {
            // Nothing is written then, however far away it would be.
            return if part.is_empty() {
                self.str_len(key, txn, out)
            } else {
                Err(TOO_LONG.into())
            };
        };
        let mut length = 0;
        self.session.modify(txn, key, None, |there| {
            let mut value = there.as_ref().map_or_else(Vec::new, |there| there.bytes.to_vec());
            length = value.len();
            if part.is_empty() {
                return Ok(Update::Keep);
            }
            value.resize(length.max(end), 0);
            value[offset..end].copy_from_slice(part);
            length = value.len();
            Ok(text(value, there.as_ref()))
        })?;
        write::integer(out, i64::try_from(length).unwrap_or(i64::MAX));
        Ok(())
    }

    pub(super) fn add_float(
        &mut self,
        key: &[u8],
        by: &[u8],
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<()> {
        let mut sum = Ok(String::new());
        self.session.modify(txn, key, None, |there| {
            let old = there.as_ref().map_or(&b"0"[..], |there| there.bytes);
            sum = float_sum(old, by);
            Ok(match &sum {
                Ok(sum) => text(sum.clone().into_bytes(), there.as_ref()),
                Err(_) => Update::Keep,
            })
        })?;
        let sum = sum.map_err(|fault| match fault {
            FloatFault::NotANumber => Refusal::new("ERR value is not a valid float"),
            FloatFault::NotFinite => Refusal::new("ERR increment would produce NaN or Infinity"),
        })?;
        write::bulk(out, sum.as_bytes());
        Ok(())
    }
}

/// Whether the condition of a write was met.
fn met(outcome: Step<()>) -> Step<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(Pause::Failed(error)) if matches!(*error, Error::Precondition { .. }) => Ok(false),
        Err(pause) => Err(pause),
    }
}

/// A value that grew too long, in Redis's words.
fn not_too_long(outcome: Step<()>) -> Run<()> {
    match outcome {
        Err(Pause::Failed(error)) if matches!(*error, Error::TooBig { what: "value", .. }) => {
            Err(TOO_LONG.into())
        }
        outcome => Ok(outcome?),
    }
}

/// Locks on all of these keys.
pub(super) fn locks<'a>(keys: impl Iterator<Item = &'a [u8]>, mode: Mode) -> GroupLocks {
    let mut locks = GroupLocks::default();
    keys.for_each(|key| locks.key(key, mode));
    locks
}

/// What is under a key, if anything, as it would be put under another; `then` becomes of it.
pub(super) fn taken(session: &mut Session, key: &[u8], then: Update) -> Step<Option<Update>> {
    let mut found = None;
    session.modify(None, key, None, |there| {
        found = there.map(|there| {
            let Datum { bytes, kind, expires_ms } = there;
            Update::Put { value: bytes.to_vec(), kind, expires_ms }
        });
        Ok(then.clone())
    })?;
    Ok(found)
}
