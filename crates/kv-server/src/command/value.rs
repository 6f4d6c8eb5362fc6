//! PUT, GET, DEL, EXISTS, INCR, META, EXPIRE, PERSIST, TTL, HISTORY: commands on one key.

use kv_core::{Condition, Revision, Step, TxnId, Value, ValueKind, Version};
use kv_protocol::{Datum, Meta, PutOptions, Read, Reply};

use super::listing::Source;
use super::{Client, Next};

/// A value as replies carry it.
pub(super) fn datum(value: &Value) -> Datum<'_> {
    Datum { bytes: value.bytes(), json: value.kind() == ValueKind::Json }
}

impl Client {
    pub(super) fn get(&mut self, out: &mut Vec<u8>, key: &[u8], read: Read) -> Step<Next> {
        let value = match read {
            Read::Newest { txn, for_update: false } => self.session.get(txn.map(TxnId), key)?,
            Read::Newest { txn, for_update: true } => {
                self.session.get_for_update(txn.map(TxnId), key)?
            }
            Read::Version(version) => self.session.get_version(key, Version(version))?,
            Read::At(revision) => self.session.get_at(key, Revision(revision))?,
        };
        match &value {
            Some(value) => self.reply(out, &Reply::Value(datum(value))),
            None => self.reply(out, &Reply::Missing),
        }
    }

    pub(super) fn put(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        value: &[u8],
        txn: Option<u64>,
        options: PutOptions,
    ) -> Step<Next> {
        let kind = if options.json { ValueKind::Json } else { ValueKind::Text };
        let txn = txn.map(TxnId);
        let condition = options.condition.map(|condition| match condition {
            kv_protocol::Condition::Absent => Condition::Absent,
            kv_protocol::Condition::Present => Condition::Present,
            kv_protocol::Condition::Version(version) => Condition::Version(Version(version)),
        });
        match options.ttl_s {
            None => self.session.put(txn, key, value, kind, condition)?,
            Some(ttl_s) => {
                self.session.put_expiring(txn, key, value, kind, condition, ttl_s)?;
            }
        }
        self.reply(out, &Reply::Done)
    }

    pub(super) fn del(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        txn: Option<u64>,
        if_version: Option<u64>,
    ) -> Step<Next> {
        let deleted = self.session.delete(txn.map(TxnId), key, if_version.map(Version))?;
        self.reply(out, if deleted { &Reply::Removed } else { &Reply::NotThere })
    }

    pub(super) fn exists(&mut self, out: &mut Vec<u8>, key: &[u8], txn: Option<u64>) -> Step<Next> {
        let exists = self.session.exists(txn.map(TxnId), key)?;
        self.reply(out, &Reply::Number(i64::from(exists)))
    }

    pub(super) fn incr(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        by: i64,
        txn: Option<u64>,
    ) -> Step<Next> {
        let sum = self.session.add(txn.map(TxnId), key, by)?;
        self.reply(out, &Reply::Number(sum))
    }

    pub(super) fn meta(&mut self, out: &mut Vec<u8>, key: &[u8], txn: Option<u64>) -> Step<Next> {
        let Some(meta) = self.session.meta(txn.map(TxnId), key)? else {
            return self.reply(out, &Reply::Missing);
        };
        let meta = Meta {
            version: meta.version.0,
            revision: meta.revision.map(|revision| revision.0),
            json: meta.kind == ValueKind::Json,
            bytes: meta.value_bytes as u64,
            updated_ms: meta.updated_ms,
            ttl_s: meta.ttl_s(),
        };
        self.reply(out, &Reply::Meta(meta))
    }

    pub(super) fn expire(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        ttl_s: Option<u64>,
        txn: Option<u64>,
    ) -> Step<Next> {
        let is_there = self.session.expire_after(txn.map(TxnId), key, ttl_s)?;
        self.reply(out, if is_there { &Reply::Removed } else { &Reply::NotThere })
    }

    pub(super) fn ttl(&mut self, out: &mut Vec<u8>, key: &[u8], txn: Option<u64>) -> Step<Next> {
        let Some(meta) = self.session.meta(txn.map(TxnId), key)? else {
            return self.reply(out, &Reply::Missing);
        };
        let ttl_s = meta.ttl_s().map_or(-1, |ttl_s| i64::try_from(ttl_s).unwrap_or(i64::MAX));
        self.reply(out, &Reply::Number(ttl_s))
    }

    pub(super) fn history(&mut self, key: &[u8], limit: Option<u64>) -> Step<Next> {
        let versions = self.session.history(key, limit)?;
        Ok(self.listing(Source::Versions(versions.into_iter()), None))
    }
}
