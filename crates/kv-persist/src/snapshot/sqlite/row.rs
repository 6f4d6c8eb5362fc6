//! How a version is written as a row, and read back without trusting it.
//!
//! Keys and values that are text are stored as TEXT, so that people can read them and ask for
//! them; all others as BLOB. Text is what is valid UTF-8 and has no NUL in it, at which SQLite's
//! tools would cut it. SQLite orders every TEXT before every BLOB.
//!
//! With a cipher, the key column is the key's keyed hash, and the value column is a nonce and the
//! sealed key and value. A deleted key has one too, since the key is nowhere else.
//!
//! SQLite's pages have no checksums, so each row has one, over everything in it that is told to
//! anybody. Where a row is in the file is not part of it: it moves from `pair` to `history` as it
//! is.

use std::sync::Arc;

use kv_core::{Datum, Revision, Stamp, ValueKind, Version};
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Statement, params};

use crate::compress::{self, Compression};
use crate::crypt::{Cipher, NONCE_BYTES, Purpose, SEAL_BYTES, random_nonce};
use crate::stored::Stored;

/// SQLite's own bound of one value, in bytes; more cannot have been compressed into it.
const VALUE_BYTES_MAX: usize = 1_000_000_000;

/// The columns of a row that [`Row::read`] reads, in its order. Both tables have them.
macro_rules! columns {
    () => {
        "key, version, revision, time, type, expires, codec, checksum, value"
    };
}
pub(super) use columns;

/// How many there are.
pub(super) const COLUMNS: usize = 9;

/// Which of them is the checksum.
pub(super) const CHECKSUM: usize = 7;

/// The numbers of a row but its checksum.
const HEAD_BYTES: usize = 6 * 8;

/// A key's keyed hash.
const HASH_BYTES: usize = 16;

const DELETED: i64 = 0;
const TEXT: i64 = 1;
const JSON: i64 = 2;

/// What is wrong with a row: a clause without a full stop.
pub(super) type Fault = &'static str;

/// What the rows of a file are made with.
#[derive(Debug, Clone, Default)]
pub(super) struct Form {
    /// The cipher, if rows are encrypted.
    pub(super) cipher: Option<Arc<Cipher>>,
    /// What values are compressed with from now on.
    pub(super) compression: Compression,
}

impl Form {
    /// What keys are ordered by, as far as it matters: between text and blobs it does not.
    pub(super) fn column(&self, key: &[u8]) -> Vec<u8> {
        match &self.cipher {
            None => key.to_vec(),
            Some(cipher) => cipher.hash_key(key).to_vec(),
        }
    }
}

/// A version as columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) key: ValueRef<'a>,
    pub(super) version: i64,
    pub(super) revision: i64,
    pub(super) time: i64,
    pub(super) kind: i64,
    pub(super) expires: Option<i64>,
    pub(super) codec: i64,
    pub(super) checksum: i64,
    pub(super) value: ValueRef<'a>,
}

impl<'a> Row<'a> {
    /// Reads the first [`COLUMNS`] columns of a result, which are those of [`columns`].
    pub(super) fn read(row: &'a rusqlite::Row<'_>) -> Result<Row<'a>, Fault> {
        let column = |index| row.get_ref(index).map_err(|_| "a column is missing");
        let number = |index| match column(index)? {
            ValueRef::Integer(number) => Ok(number),
            _ => Err("a column that should have a number has none"),
        };
        Ok(Row {
            key: column(0)?,
            version: number(1)?,
            revision: number(2)?,
            time: number(3)?,
            kind: number(4)?,
            expires: match column(5)? {
                ValueRef::Null => None,
                _ => Some(number(5)?),
            },
            codec: number(6)?,
            checksum: number(CHECKSUM)?,
            value: column(8)?,
        })
    }

    /// The checksum that it should have.
    pub(super) fn sum(&self) -> Result<i64, Fault> {
        let (key_tag, key) = tagged(self.key)?;
        let (value_tag, value) = tagged(self.value)?;
        let sum = crc32c::crc32c(&self.head());
        let sum = crc32c::crc32c_append(sum, &[key_tag, value_tag]);
        let sum = crc32c::crc32c_append(sum, &(key.len() as u32).to_le_bytes());
        let sum = crc32c::crc32c_append(sum, key);
        Ok(crc32c::crc32c_append(sum, value).into())
    }

    /// Everything but the key and the value.
    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let expires = self.expires.unwrap_or(i64::MIN);
        let numbers = [self.version, self.revision, self.time, expires, self.kind, self.codec];
        for (bytes, number) in head.chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        head
    }

    /// How much it puts into a page, about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let length = |value| tagged(value).map_or(0, |(_, bytes)| bytes.len());
        length(self.key) + length(self.value)
    }

    /// Executes a statement whose parameters are the columns, the id of the row before it, and
    /// where it is itself.
    pub(super) fn insert(
        &self,
        statement: &mut Statement<'_>,
        previous: Option<i64>,
        place: Option<i64>,
    ) -> rusqlite::Result<()> {
        statement.execute(params![
            bound(self.key),
            self.version,
            self.revision,
            self.time,
            self.kind,
            self.expires,
            self.codec,
            self.checksum,
            bound(self.value),
            previous,
            place,
        ])?;
        Ok(())
    }

    /// What is sealed with the key and the value without being secret: so the seal opens only in
    /// this row, and only with the key that it is filed under.
    fn associated(&self, hash: &[u8; HASH_BYTES]) -> [u8; HEAD_BYTES + HASH_BYTES] {
        let mut associated = [0; HEAD_BYTES + HASH_BYTES];
        associated[..HEAD_BYTES].copy_from_slice(&self.head());
        associated[HEAD_BYTES..].copy_from_slice(hash);
        associated
    }
}

/// Tells the storage classes apart in a checksum.
fn tagged(value: ValueRef<'_>) -> Result<(u8, &[u8]), Fault> {
    match value {
        ValueRef::Null => Ok((0, &[])),
        ValueRef::Text(bytes) => Ok((1, bytes)),
        ValueRef::Blob(bytes) => Ok((2, bytes)),
        ValueRef::Integer(_) | ValueRef::Real(_) => {
            Err("a column that should have text or bytes has a number")
        }
    }
}

/// Bytes as SQLite is to have them.
pub(super) fn plain(bytes: &[u8]) -> ValueRef<'_> {
    if !bytes.contains(&0) && str::from_utf8(bytes).is_ok() {
        ValueRef::Text(bytes)
    } else {
        ValueRef::Blob(bytes)
    }
}

/// For use as a parameter of a statement.
pub(super) fn bound(value: ValueRef<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(value)
}

/// Makes rows of versions. It has the buffers that this takes.
#[derive(Debug)]
pub(super) struct Encoder {
    form: Form,
    /// The key that was hashed last, and its hash: several rows of one key come one by one.
    key: Vec<u8>,
    hash: [u8; HASH_BYTES],
    value: Vec<u8>,
    /// The last nonce: the first one is drawn at random, then its last 8 bytes count.
    nonce: Option<[u8; NONCE_BYTES]>,
}

impl Encoder {
    pub(super) fn new(form: &Form) -> Encoder {
        Encoder {
            form: form.clone(),
            key: Vec::new(),
            hash: [0; HASH_BYTES],
            value: Vec::new(),
            nonce: None,
        }
    }

    /// The key column of a key.
    pub(super) fn key<'a>(&'a mut self, key: &'a [u8]) -> ValueRef<'a> {
        match self.form.cipher.clone() {
            None => plain(key),
            Some(cipher) => {
                self.hash(&cipher, key);
                ValueRef::Blob(&self.hash)
            }
        }
    }

    fn hash(&mut self, cipher: &Cipher, key: &[u8]) {
        // No key is empty, so none is taken for the one before the first.
        if self.key != key {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.hash = cipher.hash_key(key);
        }
    }

    /// The row of a version.
    pub(super) fn row<'a>(&'a mut self, stored: Stored<'a>) -> Row<'a> {
        let mut row = Row {
            key: ValueRef::Null,
            version: stored.version.0.cast_signed(),
            revision: stored.stamp.revision.0.cast_signed(),
            time: stored.stamp.time_ms.cast_signed(),
            kind: DELETED,
            expires: None,
            codec: 0,
            checksum: 0,
            value: ValueRef::Null,
        };
        let mut compressed = None;
        if let Some(datum) = stored.datum {
            row.kind = match datum.kind {
                ValueKind::Text => TEXT,
                ValueKind::Json => JSON,
            };
            row.expires = datum.expires_ms.map(u64::cast_signed);
            compressed = self.form.compression.compress(datum.bytes);
            if compressed.is_some() {
                row.codec = self.form.compression.code().into();
            }
        }
        let value = compressed.as_deref().or(stored.datum.map(|datum| datum.bytes));
        if let Some(cipher) = self.form.cipher.clone() {
            self.hash(&cipher, stored.key);
            let associated = row.associated(&self.hash);
            self.seal(&cipher, stored.key, value.unwrap_or_default(), &associated);
            row.key = ValueRef::Blob(&self.hash);
            row.value = ValueRef::Blob(&self.value);
        } else {
            row.key = plain(stored.key);
            row.value = match (compressed, stored.datum) {
                (Some(compressed), _) => {
                    self.value = compressed;
                    ValueRef::Blob(&self.value)
                }
                (None, Some(datum)) => plain(datum.bytes),
                (None, None) => ValueRef::Null,
            };
        }
        row.checksum = row.sum().expect("a row that was just made has the right types");
        row
    }

    fn seal(&mut self, cipher: &Cipher, key: &[u8], value: &[u8], associated: &[u8]) {
        let nonce = self.next_nonce();
        let mut sealed = Vec::with_capacity(4 + key.len() + value.len() + SEAL_BYTES);
        sealed.extend_from_slice(&(key.len() as u32).to_le_bytes());
        sealed.extend_from_slice(key);
        sealed.extend_from_slice(value);
        cipher.seal(Purpose::Snapshot, &nonce, associated, &mut sealed);
        self.value.clear();
        self.value.extend_from_slice(&nonce);
        self.value.extend_from_slice(&sealed);
    }

    /// A nonce that was never used: to ask the system for each takes longer than to seal a row.
    fn next_nonce(&mut self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.nonce.unwrap_or_else(random_nonce);
        if let Some((_, count)) = nonce.split_last_chunk_mut::<8>() {
            *count = u64::from_le_bytes(*count).wrapping_add(1).to_le_bytes();
        }
        *self.nonce.insert(nonce)
    }
}

/// Reads versions from rows. It has the buffers that this takes.
#[derive(Debug)]
pub(super) struct Decoder {
    form: Form,
    opened: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(form: &Form) -> Decoder {
        Decoder { form: form.clone(), opened: Vec::new(), value: Vec::new() }
    }

    /// The version that a row holds.
    ///
    /// # Errors
    ///
    /// What is wrong with it; it is never taken for another.
    pub(super) fn version<'a>(&'a mut self, row: &Row<'a>) -> Result<Stored<'a>, Fault> {
        if row.sum()? != row.checksum {
            return Err("its checksum is wrong");
        }
        let (key, value) = match &self.form.cipher {
            None => (bytes(row.key)?, bytes(row.value).unwrap_or_default()),
            Some(cipher) => open(cipher, row, &mut self.opened)?,
        };
        let value = match row.codec {
            0 => value,
            codec => {
                let codec = u8::try_from(codec).map_err(|_| "its codec is unknown")?;
                self.value = compress::decompress(codec, value, VALUE_BYTES_MAX)
                    .map_err(|_| "its value cannot be decompressed")?;
                &self.value
            }
        };
        let kind = match row.kind {
            DELETED => None,
            TEXT => Some(ValueKind::Text),
            JSON => Some(ValueKind::Json),
            _ => return Err("its type is unknown"),
        };
        if kind.is_some() != (row.value.data_type() != Type::Null) && self.form.cipher.is_none() {
            return Err("it has no value, or has one although it is deleted");
        }
        Ok(Stored {
            key,
            version: Version(row.version.cast_unsigned()),
            stamp: Stamp {
                revision: Revision(row.revision.cast_unsigned()),
                time_ms: row.time.cast_unsigned(),
            },
            datum: kind.map(|kind| Datum {
                bytes: value,
                kind,
                expires_ms: row.expires.map(i64::cast_unsigned),
            }),
        })
    }
}

fn bytes(value: ValueRef<'_>) -> Result<&[u8], Fault> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err("a column that should have text or bytes has none"),
    }
}

/// Opens the seal of a row: its key and its value.
fn open<'a>(
    cipher: &Cipher,
    row: &Row<'_>,
    opened: &'a mut Vec<u8>,
) -> Result<(&'a [u8], &'a [u8]), Fault> {
    const BROKEN: Fault = "its seal is broken";
    let hash = bytes(row.key)?.try_into().map_err(|_| "its key is not a keyed hash")?;
    let (nonce, sealed) = bytes(row.value)?.split_first_chunk::<NONCE_BYTES>().ok_or(BROKEN)?;
    opened.clear();
    opened.extend_from_slice(sealed);
    cipher.open(Purpose::Snapshot, nonce, &row.associated(hash), opened).map_err(|_| BROKEN)?;
    let (length, rest) = opened.split_first_chunk::<4>().ok_or(BROKEN)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(BROKEN)
}
