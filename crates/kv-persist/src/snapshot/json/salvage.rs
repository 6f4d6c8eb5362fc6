//! Reads what can still be read of a damaged file, line by line, and leaves out the rest.
//!
//! A line says by itself what it is, but not to whom it belongs. So after a line that is not as it
//! was written nothing is taken for a version until the next key begins: better one that is lost
//! than one that is filed under the wrong key. Lines have no checksums. Whether what was read is
//! what was written is known only of a file that is read to its end, and found sound.

use std::path::Path;
use std::sync::Arc;

use super::JsonSnapshot;
use super::frame::Input;
use super::text::{parse_key, parse_version};
use crate::crypt::Cipher;
use crate::error::Error;
use crate::fs::FileSystem;
use crate::stored::{Stored, StoredBuf};

/// What a salvage has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Keys.
    pub keys: u64,
    /// Versions.
    pub versions: u64,
    /// Lines that are not as they were written, or that belong to nobody knows what.
    pub bad: u64,
    /// Why it could not be read to its end, if it could not.
    pub ends_early: Option<String>,
}

impl JsonSnapshot {
    /// Hands over every version that can be read; the flag says whether it is the newest of its
    /// key.
    ///
    /// # Errors
    ///
    /// If there is no file to read at all, or what `found` answered.
    pub fn salvage(
        files: &dyn FileSystem,
        path: &Path,
        cipher: Option<Arc<Cipher>>,
        found: &mut dyn FnMut(Stored<'_>, bool) -> Result<(), Error>,
    ) -> Result<Salvaged, Error> {
        let mut input = Input::open(files, path)?;
        input.unlock(cipher)?;
        let mut salvage =
            Salvage { found, salvaged: Salvaged::default(), key: None, version: None };
        let mut line = Vec::new();
        let mut is_first = true;
        loop {
            match input.line(&mut line) {
                // The first line says nothing of keys.
                Ok(true) if is_first => is_first = false,
                Ok(true) => salvage.line(&line)?,
                Ok(false) => break,
                Err(error) => {
                    salvage.salvaged.ends_early = Some(error.as_finding());
                    break;
                }
            }
        }
        salvage.end_key(false)?;
        Ok(salvage.salvaged)
    }
}

struct Salvage<'a> {
    found: &'a mut dyn FnMut(Stored<'_>, bool) -> Result<(), Error>,
    salvaged: Salvaged,
    /// Whose versions the next lines are, if that is known.
    key: Option<Vec<u8>>,
    /// The last version; whether it is the newest is not yet known.
    version: Option<StoredBuf>,
}

impl Salvage<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        let line = str::from_utf8(line).unwrap_or_default();
        if let Some(key) = parse_key(line) {
            self.end_key(false)?;
            self.salvaged.keys += 1;
            self.key = Some(key);
            return Ok(());
        }
        match (line, &self.key) {
            ("]}" | "]},", Some(_)) => return self.end_key(true),
            (_, Some(key)) => {
                if let Some(version) = parse_version(line, key) {
                    self.hand_over(false)?;
                    self.salvaged.versions += 1;
                    self.version = Some(version);
                    return Ok(());
                }
            }
            // The last line.
            (_, None) if line.starts_with("],\"count\"") => return Ok(()),
            (_, None) => {}
        }
        self.salvaged.bad += 1;
        self.end_key(false)
    }

    fn end_key(&mut self, is_whole: bool) -> Result<(), Error> {
        self.key = None;
        self.hand_over(is_whole)
    }

    fn hand_over(&mut self, is_newest: bool) -> Result<(), Error> {
        match self.version.take() {
            Some(version) => (self.found)(version.borrowed(), is_newest),
            None => Ok(()),
        }
    }
}
