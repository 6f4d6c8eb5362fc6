//! Encryption at rest: what is written is sealed, and only the key that sealed it opens it.
//!
//! The operator's key seals nothing itself. From it and the identity of the database come subkeys,
//! one for each purpose, so that what is sealed for one file opens in no other, and in no other
//! database. The cipher is XChaCha20-Poly1305: its nonce is long enough to be drawn at random each
//! time, so that no counter has to survive a crash, and a single changed bit keeps the whole from
//! being opened. What belongs to the sealed bytes without being secret, such as where they stand,
//! goes in as associated data: opened elsewhere they are refused.
//!
//! What is not hidden: how long things are, when they are written, and which rows have the same
//! key (see [`Cipher::hash_key`]). Nor is an old copy of a whole file told from a new one by this
//! module; revisions do that.

mod key;

use std::fmt;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::stored::DatabaseId;

pub use key::MasterKey;

/// By how many bytes sealing lengthens what is sealed.
pub const SEAL_BYTES: usize = 16;

/// The length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 24;

/// What something is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The log's batches.
    Log,
    /// The snapshot's rows or chunks.
    Snapshot,
}

/// Tells keys apart without telling anything about them: every file has it in its header, so that a
/// wrong key is recognised before anything is read with it. Zeros mean that nothing is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// Nothing is encrypted.
    pub const NONE: KeyId = KeyId([0; 16]);

    /// Whether this is no key at all.
    pub fn is_none(self) -> bool {
        self == KeyId::NONE
    }
}

/// In hexadecimal.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Sealed bytes do not open: they were changed, sealed with another key, or stood somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongSeal;

impl fmt::Display for WrongSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the seal is broken: the bytes were changed, or do not belong here")
    }
}

impl std::error::Error for WrongSeal {}

/// The keys of one database. They are wiped from memory when it is dropped.
pub struct Cipher {
    id: KeyId,
    log: XChaCha20Poly1305,
    snapshot: XChaCha20Poly1305,
    hash: Hmac<Sha256>,
}

impl Cipher {
    /// Derives the keys of a database.
    pub fn new(master: &MasterKey, database: DatabaseId) -> Cipher {
        let subkeys = Hkdf::<Sha256>::new(Some(&database.0), master.bytes());
        let aead = |info| XChaCha20Poly1305::new((&*subkey::<32>(&subkeys, info)).into());
        let hash_key = subkey::<32>(&subkeys, b"kv keys 1");
        Cipher {
            id: KeyId(*subkey(&subkeys, b"kv key id 1")),
            log: aead(b"kv log 1"),
            snapshot: aead(b"kv snapshot 1"),
            hash: <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*hash_key)
                .expect("HMAC takes a key of any length"),
        }
    }

    /// What tells this key from others.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Encrypts the buffer in place and appends the seal, [`SEAL_BYTES`] long. A nonce must never
    /// be used twice for one purpose, so it is a fresh one from [`random_nonce`], or a random part
    /// and a counter.
    pub fn seal(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut Vec<u8>,
    ) {
        seal(self.aead(purpose), nonce, associated, buffer);
    }

    /// Checks the seal, takes it off and decrypts the buffer in place.
    ///
    /// # Errors
    ///
    /// [`WrongSeal`]; then the buffer is as it was.
    pub fn open(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), WrongSeal> {
        open(self.aead(purpose), nonce, associated, buffer)
    }

    /// Where an encrypted row is found: the same for the same key, and for whoever does not know
    /// the subkey not to be told from random bytes.
    pub fn hash_key(&self, key: &[u8]) -> [u8; 16] {
        let hash = self.hash.clone().chain_update(key).finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        short
    }

    fn aead(&self, purpose: Purpose) -> &XChaCha20Poly1305 {
        match purpose {
            Purpose::Log => &self.log,
            Purpose::Snapshot => &self.snapshot,
        }
    }
}

/// Shows which keys they are, never the keys.
impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cipher({})", self.id)
    }
}

/// A nonce that was never used before: of 2^192, nobody draws one twice.
pub fn random_nonce() -> [u8; NONCE_BYTES] {
    random()
}

/// Random bytes from the operating system, fit for keys.
///
/// # Panics
///
/// If the operating system has none to give, which no supported one refuses.
pub fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

fn subkey<const BYTES: usize>(
    subkeys: &Hkdf<Sha256>,
    info: &'static [u8],
) -> Zeroizing<[u8; BYTES]> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    subkeys.expand(info, &mut *bytes).expect("HKDF gives up to 255 blocks, and this is one");
    bytes
}

fn seal(
    aead: &XChaCha20Poly1305,
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    buffer: &mut Vec<u8>,
) {
    buffer.reserve_exact(SEAL_BYTES);
    let nonce: &XNonce = nonce.into();
    aead.encrypt_in_place(nonce, associated, buffer).expect("a buffer is below 256 GiB");
}

fn open(
    aead: &XChaCha20Poly1305,
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), WrongSeal> {
    let nonce: &XNonce = nonce.into();
    aead.decrypt_in_place(nonce, associated, buffer).map_err(|_| WrongSeal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATABASE: DatabaseId = DatabaseId([7; 16]);
    const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

    fn cipher(key: u8, database: DatabaseId) -> Cipher {
        Cipher::new(&MasterKey::from_text(&format!("{key:02x}").repeat(32)).unwrap(), database)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// The example of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_published_example_comes_out() {
        let key: [u8; 32] = std::array::from_fn(|index| 0x80 + index as u8);
        let nonce: [u8; NONCE_BYTES] = std::array::from_fn(|index| 0x40 + index as u8);
        let associated = bytes("50515253c0c1c2c3c4c5c6c7");
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
                      for the future, sunscreen would be it.";
        let sealed = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                      731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                      2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                      21f9664c97637da9768812f615c68b13b52e\
                      c0875924c1c7987947deafd8780acf49";
        let aead = XChaCha20Poly1305::new((&key).into());
        let mut buffer = plain.to_vec();
        seal(&aead, &nonce, &associated, &mut buffer);
        assert_eq!(buffer, bytes(sealed));
        assert_eq!(open(&aead, &nonce, &associated, &mut buffer), Ok(()));
        assert_eq!(buffer, plain);
    }

    /// What is on disk today has to open tomorrow, so the derivation is fixed. Computed with an
    /// independent implementation of HKDF (RFC 5869) and HMAC (RFC 2104).
    #[test]
    fn the_derivation_is_fixed() {
        let cipher = cipher(1, DATABASE);
        assert_eq!(cipher.key_id().to_string(), "a38e259388467462c1ca522bb7ba8d2d");
        assert_eq!(cipher.hash_key(b"house").to_vec(), bytes("ac0391ecacdbb4c4cba74755754c65f4"));
        let mut buffer = b"value".to_vec();
        cipher.seal(Purpose::Log, &NONCE, b"", &mut buffer);
        assert_eq!(buffer, bytes("77f0ced93f1aa5509e83cf95911e5eff1c1538078f"));
        let mut buffer = b"value".to_vec();
        cipher.seal(Purpose::Snapshot, &NONCE, b"", &mut buffer);
        assert_eq!(buffer, bytes("16b75cfd1bf7e00342f3c492fcffbd5b9ca9da2541"));
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let mine = cipher(1, DATABASE);
        let mut sealed = b"a secret".to_vec();
        mine.seal(Purpose::Log, &NONCE, b"batch 1", &mut sealed);
        let open = |cipher: &Cipher, purpose, nonce, associated: &[u8]| {
            cipher.open(purpose, nonce, associated, &mut sealed.clone())
        };
        assert_eq!(open(&mine, Purpose::Log, &NONCE, b"batch 1"), Ok(()));
        assert_eq!(open(&mine, Purpose::Snapshot, &NONCE, b"batch 1"), Err(WrongSeal));
        assert_eq!(open(&mine, Purpose::Log, &NONCE, b"batch 2"), Err(WrongSeal));
        assert_eq!(open(&mine, Purpose::Log, &[8; 24], b"batch 1"), Err(WrongSeal));
        let other_key = cipher(2, DATABASE);
        assert_eq!(open(&other_key, Purpose::Log, &NONCE, b"batch 1"), Err(WrongSeal));
        let other_database = cipher(1, DatabaseId([8; 16]));
        assert_eq!(open(&other_database, Purpose::Log, &NONCE, b"batch 1"), Err(WrongSeal));
    }

    #[test]
    fn keys_and_databases_are_told_apart() {
        let ids = [cipher(1, DATABASE), cipher(2, DATABASE), cipher(1, DatabaseId([8; 16]))];
        assert_ne!(ids[0].key_id(), ids[1].key_id());
        assert_ne!(ids[0].key_id(), ids[2].key_id());
        assert_ne!(ids[0].hash_key(b"house"), ids[1].hash_key(b"house"));
        assert_ne!(ids[0].hash_key(b"house"), ids[2].hash_key(b"house"));
        assert_ne!(ids[0].hash_key(b"house"), ids[0].hash_key(b"horse"));
        assert!(ids.iter().all(|cipher| !cipher.key_id().is_none()));
    }

    #[test]
    fn every_changed_bit_is_found_and_nothing_is_decrypted_then() {
        let cipher = cipher(1, DATABASE);
        let mut sealed = b"a secret that is longer than one block of 64 bytes of the cipher, by \
                           some bytes"
            .to_vec();
        cipher.seal(Purpose::Snapshot, &NONCE, b"row 1", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let before = changed.clone();
            let opened = cipher.open(Purpose::Snapshot, &NONCE, b"row 1", &mut changed);
            assert_eq!((opened, changed), (Err(WrongSeal), before), "bit {bit}");
        }
        for length in 0..sealed.len() {
            let opened =
                cipher.open(Purpose::Snapshot, &NONCE, b"row 1", &mut sealed[..length].to_vec());
            assert_eq!(opened, Err(WrongSeal), "cut to {length} bytes");
        }
    }

    #[test]
    fn nothing_shows_a_key() {
        let cipher = cipher(0xab, DATABASE);
        assert_eq!(format!("{cipher:?}"), format!("Cipher({})", cipher.key_id()));
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(random_nonce(), random_nonce());
        assert_ne!(random::<16>(), [0; 16]);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            plain: Vec<u8>,
            associated: Vec<u8>,
            nonce: [u8; NONCE_BYTES],
        ) {
            let cipher = cipher(1, DATABASE);
            let mut buffer = plain.clone();
            cipher.seal(Purpose::Log, &nonce, &associated, &mut buffer);
            prop_assert_eq!(buffer.len(), plain.len() + SEAL_BYTES);
            prop_assert_eq!(cipher.open(Purpose::Log, &nonce, &associated, &mut buffer), Ok(()));
            prop_assert_eq!(buffer, plain);
        }
    }
}
