//! The operator's key: 32 random bytes, given in a file or as text.
//!
//! A passphrase is refused, however long: it would have to be stretched, slowly, and be guessed at
//! all the same. A key is random bytes and nothing else, and every error says how to make one. No
//! error repeats what was given.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// The length of a key, in bytes.
const KEY_BYTES: usize = 32;

/// Far more than any way to write a key takes, and little enough to read from whatever it is.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// How to make a key, for every error.
const HOW_TO: &str = "a key is 32 random bytes, as they are in a file, in base64, or as 64 \
                      hexadecimal digits; make one with: head -c 32 /dev/urandom | base64";

/// The key that the operator gives. It is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// Reads a key from a file, which holds the 32 bytes themselves or what
    /// [`MasterKey::from_text`] takes. Warns if others may read the file too.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::Key`] if it holds no key.
    pub fn from_file(path: &Path) -> Result<MasterKey, Error> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| Error::io("read", path, error))?;
        if metadata.mode() & 0o077 != 0 {
            tracing::warn!(
                path = %path.display(),
                mode = format!("{:03o}", metadata.mode() & 0o777),
                "others may use the encryption key: chmod 600 it"
            );
        }
        let mut content = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize));
        let mut file = file.take(KEY_FILE_BYTES_MAX);
        file.read_to_end(&mut content).map_err(|error| Error::io("read", path, error))?;
        MasterKey::from_content(&content).ok_or_else(|| Error::Key {
            what: format!("{} holds no encryption key: {HOW_TO}", path.display()),
        })
    }

    /// Reads a key that is written in base64 or as hexadecimal digits, with or without space around
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if it is something else.
    pub fn from_text(text: &str) -> Result<MasterKey, Error> {
        MasterKey::parse(text)
            .ok_or_else(|| Error::Key { what: format!("this is no encryption key: {HOW_TO}") })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn from_content(content: &[u8]) -> Option<MasterKey> {
        // Random bytes are all printable once in 10^14 times: this is a passphrase.
        let is_text = content.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        match <[u8; KEY_BYTES]>::try_from(content) {
            Ok(bytes) if !is_text => Some(MasterKey(bytes)),
            Ok(_) => None,
            Err(_) => MasterKey::parse(str::from_utf8(content).ok()?),
        }
    }

    /// The lengths differ, so no text can be meant in two ways.
    fn parse(text: &str) -> Option<MasterKey> {
        let text = text.trim();
        let bytes = Zeroizing::new(match text.len() {
            43 => STANDARD_NO_PAD.decode(text).ok()?,
            44 => STANDARD.decode(text).ok()?,
            64 => from_hex(text.as_bytes())?,
            _ => return None,
        });
        bytes.as_slice().try_into().ok().map(MasterKey)
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Shows nothing.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key() -> [u8; KEY_BYTES] {
        std::array::from_fn(|index| index as u8)
    }

    #[test]
    fn a_key_is_taken_in_every_form() {
        let padless = BASE64.trim_end_matches('=');
        let spaced = format!("  {HEX}\r\n");
        for text in [HEX, BASE64, padless, &spaced] {
            assert_eq!(*MasterKey::from_text(text).unwrap().bytes(), key(), "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let lines = [HEX.as_bytes(), BASE64.as_bytes(), spaced.as_bytes(), &key()];
        for content in lines {
            std::fs::write(&path, content).unwrap();
            assert_eq!(*MasterKey::from_file(&path).unwrap().bytes(), key(), "{content:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_repeated() {
        let passphrase = "correct horse battery staple 123";
        assert_eq!(passphrase.len(), KEY_BYTES);
        let too_short = &BASE64[..40];
        let not_hex = &HEX.replace('f', "g").replace('F', "G");
        let umlauts = "ä".repeat(32);
        for text in ["", passphrase, too_short, not_hex, &umlauts, &HEX[..32], &HEX.repeat(2)] {
            let told = MasterKey::from_text(text).unwrap_err();
            assert!(matches!(told, Error::Key { .. }));
            assert!(told.to_string().contains("head -c 32 /dev/urandom | base64"), "{told}");
            assert!(text.is_empty() || !told.to_string().contains(text), "{told}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let binary: Vec<u8> = (200..240).collect();
        for content in [&b""[..], passphrase.as_bytes(), &key()[..31], &binary] {
            std::fs::write(&path, content).unwrap();
            let told = MasterKey::from_file(&path).unwrap_err();
            assert!(matches!(told, Error::Key { .. }), "{content:?}");
            assert!(told.to_string().contains("/key holds no encryption key"), "{told}");
        }
    }

    #[test]
    fn a_key_file_that_is_missing_or_endless_is_refused() {
        let missing = MasterKey::from_file(Path::new("/nonexistent/key")).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "cannot open /nonexistent/key: No such file or directory (os error 2)"
        );
        let endless = MasterKey::from_file(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(endless, Error::Key { .. }));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", MasterKey::from_text(HEX).unwrap()), "MasterKey");
    }
}
