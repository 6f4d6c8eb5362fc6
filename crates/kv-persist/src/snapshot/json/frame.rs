//! The file below the document: its bytes as they are, or packed and sealed in chunks.
//!
//! ```text
//!   header    magic 8 | format 4 | is backup 1 | zeros 3 | database 16 | key id 16 | nonce 16
//!             | revision 8 | time 8 | CRC32C 4
//!   chunk     length 4 | compression 1 | is last 1 | zeros 2 | as many bytes as it says
//! ```
//!
//! All numbers are little endian. A chunk is sealed with the header and its own 8 bytes as
//! associated data, and with the header's random nonce followed by its number: a chunk that is
//! changed, moved, left out or taken from another file does not open, and that the file ends too
//! early is told by the last chunk, which says that it is. Without a key the document's checksum
//! finds the same.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_core::Revision;

use super::text::Head;
use crate::compress::{self, Compression};
use crate::crypt::{self, Cipher, KeyId, NONCE_BYTES, Purpose, SEAL_BYTES};
use crate::error::Error;
use crate::fs::{Access, File, FileSystem};
use crate::stored::{DatabaseId, Through};

/// How much of the document is in a chunk, in bytes: more would compress little better.
const CHUNK_BYTES: usize = 256 << 10;

const MAGIC: &[u8; 8] = b"KVJSON\r\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 84;
const SUM_AT: usize = 80;
const CHUNK_HEADER_BYTES: usize = 8;
const NONCE_PREFIX_BYTES: usize = 16;

/// What every chunk of a framed file has in common.
#[derive(Debug, Clone)]
struct Frame {
    header: [u8; HEADER_BYTES],
    cipher: Option<Arc<Cipher>>,
    /// The number of the next chunk.
    chunk: u64,
}

impl Frame {
    fn new(head: &Head, cipher: Option<Arc<Cipher>>) -> Frame {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12] = head.is_backup.into();
        header[16..32].copy_from_slice(&head.database.0);
        let key_id = cipher.as_ref().map_or(KeyId::NONE, |cipher| cipher.key_id());
        header[32..48].copy_from_slice(&key_id.0);
        header[48..64].copy_from_slice(&crypt::random::<NONCE_PREFIX_BYTES>());
        header[64..72].copy_from_slice(&head.through.revision.0.to_le_bytes());
        header[72..80].copy_from_slice(&head.through.time_ms.to_le_bytes());
        let sum = crc32c::crc32c(&header[..SUM_AT]);
        header[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        Frame { header, cipher, chunk: 0 }
    }

    fn at<const BYTES: usize>(&self, at: usize) -> [u8; BYTES] {
        std::array::from_fn(|index| self.header[at + index])
    }

    /// Whether the header is as [`Frame::new`] writes one.
    fn is_whole(&self) -> bool {
        self.at(8) == FORMAT.to_le_bytes()
            && self.at(SUM_AT) == crc32c::crc32c(&self.header[..SUM_AT]).to_le_bytes()
    }

    fn head(&self) -> Head {
        Head {
            database: DatabaseId(self.at(16)),
            through: Through {
                revision: Revision(u64::from_le_bytes(self.at(64))),
                time_ms: u64::from_le_bytes(self.at(72)),
            },
            is_backup: self.header[12] != 0,
        }
    }

    fn key_id(&self) -> KeyId {
        KeyId(self.at(32))
    }

    /// The nonce and the associated data of the next chunk.
    fn next(&mut self, chunk: [u8; CHUNK_HEADER_BYTES]) -> ([u8; NONCE_BYTES], Vec<u8>) {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..NONCE_PREFIX_BYTES].copy_from_slice(&self.header[48..64]);
        nonce[NONCE_PREFIX_BYTES..].copy_from_slice(&self.chunk.to_le_bytes());
        self.chunk += 1;
        (nonce, [&self.header[..], &chunk].concat())
    }
}

/// Writes a file.
pub(super) struct Output {
    file: Box<dyn File>,
    path: PathBuf,
    frame: Option<Frame>,
    compression: Compression,
    buffer: Vec<u8>,
    offset: u64,
}

impl Output {
    /// Begins an empty file. It is framed if it is to be packed or sealed.
    pub(super) fn new(
        file: Box<dyn File>,
        path: &Path,
        head: &Head,
        compression: Compression,
        cipher: Option<Arc<Cipher>>,
    ) -> Result<Output, Error> {
        let is_framed = cipher.is_some() || compression != Compression::None;
        let frame = is_framed.then(|| Frame::new(head, cipher));
        let header = frame.as_ref().map(|frame| frame.header);
        let buffer = Vec::with_capacity(CHUNK_BYTES);
        let mut output =
            Output { file, path: path.to_owned(), frame, compression, buffer, offset: 0 };
        if let Some(header) = header {
            output.append(&header)?;
        }
        Ok(output)
    }

    /// Writes a piece of the document.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while self.buffer.len() + bytes.len() > CHUNK_BYTES {
            let (now, later) = bytes.split_at(CHUNK_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            self.flush(false)?;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file, without making it durable.
    pub(super) fn finish(mut self) -> Result<Box<dyn File>, Error> {
        self.flush(true)?;
        Ok(self.file)
    }

    fn flush(&mut self, is_last: bool) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.buffer);
        if let Some(frame) = &mut self.frame {
            let compressed = self.compression.compress(&bytes);
            let code = if compressed.is_some() { self.compression.code() } else { 0 };
            let mut chunk = compressed.unwrap_or_else(|| bytes.clone());
            let seal_bytes = if frame.cipher.is_some() { SEAL_BYTES } else { 0 };
            let mut header = [0; CHUNK_HEADER_BYTES];
            let length = (chunk.len() + seal_bytes) as u32;
            header[..4].copy_from_slice(&length.to_le_bytes());
            header[4..6].copy_from_slice(&[code, is_last.into()]);
            if let Some(cipher) = frame.cipher.clone() {
                let (nonce, associated) = frame.next(header);
                cipher.seal(Purpose::Snapshot, &nonce, &associated, &mut chunk);
            }
            self.append(&header)?;
            self.append(&chunk)?;
        } else {
            self.append(&bytes)?;
        }
        bytes.clear();
        self.buffer = bytes;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_full(bytes, self.offset);
        written.map_err(|error| Error::io("write", &self.path, error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({}, at byte {})", self.path.display(), self.offset)
    }
}

/// Reads a file.
pub(super) struct Input {
    file: Box<dyn File>,
    path: PathBuf,
    frame: Option<Frame>,
    /// Where the next chunk begins in the file.
    offset: u64,
    /// Where this one does.
    chunk_offset: u64,
    is_last: bool,
    chunk: Vec<u8>,
    /// How much of it has been read.
    read: usize,
    /// Where the last line began; in a framed file, the chunk that it began in.
    line_offset: u64,
}

impl Input {
    /// Opens a file and reads its header. Call [`Input::unlock`] before anything else is read.
    pub(super) fn open(files: &dyn FileSystem, path: &Path) -> Result<Input, Error> {
        let file = files.open(path, Access::Read);
        let mut input = Input {
            file: file.map_err(|error| Error::io("open", path, error))?,
            path: path.to_owned(),
            frame: None,
            offset: 0,
            chunk_offset: 0,
            is_last: false,
            chunk: Vec::new(),
            read: 0,
            line_offset: 0,
        };
        let mut header = [0; HEADER_BYTES];
        let length = input.read_file(&mut header)?;
        if header[0] == b'{' {
            return Ok(input);
        }
        if length < HEADER_BYTES || !header.starts_with(MAGIC) {
            return Err(input.damaged("it does not begin like a snapshot"));
        }
        let frame = Frame { header, cipher: None, chunk: 0 };
        let format = u32::from_le_bytes(frame.at(8));
        if format > FORMAT {
            return Err(input.later_format(format.into(), FORMAT.into()));
        }
        if !frame.is_whole() {
            return Err(input.damaged("its header is not as it was written"));
        }
        input.frame = Some(frame);
        input.offset = HEADER_BYTES as u64;
        Ok(input)
    }

    /// What a framed file says of itself before it is unlocked.
    pub(super) fn head(&self) -> Option<Head> {
        self.frame.as_ref().map(Frame::head)
    }

    /// The key that it was encrypted with.
    pub(super) fn key_id(&self) -> KeyId {
        self.frame.as_ref().map_or(KeyId::NONE, Frame::key_id)
    }

    /// Takes the key, or none, if that is what the file was written with.
    pub(super) fn unlock(&mut self, cipher: Option<Arc<Cipher>>) -> Result<(), Error> {
        let wanted = self.key_id();
        let given = cipher.as_ref().map_or(KeyId::NONE, |cipher| cipher.key_id());
        let what = match (wanted.is_none(), given.is_none()) {
            _ if wanted == given => {
                if let Some(frame) = &mut self.frame {
                    frame.cipher = cipher;
                }
                return Ok(());
            }
            (true, _) => {
                "is not encrypted, and an encryption key was given; start without the key, or \
                 export the data and import it into a new directory with the key"
            }
            (false, true) => "is encrypted; give the key that it was encrypted with",
            (false, false) => "was encrypted with another key than the one that was given",
        };
        Err(Error::Key { what: format!("{} {what}; nothing was changed", self.path.display()) })
    }

    /// Reads a line into `line`, without its end; false if there is none, not even an empty one.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let in_chunk = if self.frame.is_none() { self.read as u64 } else { 0 };
        self.line_offset = self.chunk_offset + in_chunk;
        let mut is_begun = false;
        loop {
            let rest = &self.chunk[self.read..];
            if let Some(end) = memchr::memchr(b'\n', rest) {
                line.extend_from_slice(&rest[..end]);
                self.read += end + 1;
                return Ok(true);
            }
            line.extend_from_slice(rest);
            is_begun |= !rest.is_empty();
            self.read = self.chunk.len();
            if !self.fill()? {
                return if is_begun { Err(self.cut_off()) } else { Ok(false) };
            }
        }
    }

    /// The error for damage in the line that was read last.
    pub(super) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset: Some(self.line_offset),
            what: what.into(),
        }
    }

    /// The error for an end that comes too early.
    pub(super) fn cut_off(&self) -> Error {
        self.damaged("it ends too early")
    }

    /// The error for a format of the document that is not known.
    pub(super) fn later_format(&self, found: u64, known: u64) -> Error {
        Error::FromTheFuture { path: self.path.clone(), found, known }
    }

    /// Reads the next chunk; false if there is none.
    fn fill(&mut self) -> Result<bool, Error> {
        self.chunk_offset = self.offset;
        self.read = 0;
        let Some(mut frame) = self.frame.take() else {
            // Zeroed by the allocator, which is quicker than by hand.
            let mut chunk = vec![0; CHUNK_BYTES];
            let bytes = self.read_file(&mut chunk)?;
            chunk.truncate(bytes);
            self.offset += bytes as u64;
            self.chunk = chunk;
            return Ok(bytes > 0);
        };
        let filled = self.fill_framed(&mut frame);
        self.frame = Some(frame);
        filled
    }

    fn fill_framed(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        self.chunk.clear();
        let mut header = [0; CHUNK_HEADER_BYTES];
        let bytes = self.read_file(&mut header)?;
        if self.is_last {
            return if bytes == 0 {
                Ok(false)
            } else {
                Err(self.bad_chunk("it goes on after its end"))
            };
        }
        if bytes < CHUNK_HEADER_BYTES {
            return Err(self.bad_chunk("it ends too early"));
        }
        let [l0, l1, l2, l3, code, is_last, 0, 0] = header else {
            return Err(self.bad_chunk("a chunk is not as it was written"));
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > CHUNK_BYTES + SEAL_BYTES || is_last > 1 {
            return Err(self.bad_chunk("a chunk is not as it was written"));
        }
        self.offset += CHUNK_HEADER_BYTES as u64;
        let mut chunk = vec![0; length];
        if self.read_file(&mut chunk)? < length {
            return Err(self.bad_chunk("it ends too early"));
        }
        self.offset += length as u64;
        if let Some(cipher) = frame.cipher.clone() {
            let (nonce, associated) = frame.next(header);
            let opened = cipher.open(Purpose::Snapshot, &nonce, &associated, &mut chunk);
            opened.map_err(|wrong| self.bad_chunk(wrong.to_string()))?;
        }
        self.chunk = compress::decompress(code, &chunk, CHUNK_BYTES)
            .map_err(|bad| self.bad_chunk(format!("a chunk is damaged: {bad}")))?;
        self.is_last = is_last == 1;
        Ok(true)
    }

    fn bad_chunk(&self, what: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset: Some(self.chunk_offset),
            what: what.into(),
        }
    }

    fn read_file(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = self.file.read_full(buffer, self.offset);
        read.map_err(|error| Error::io("read", &self.path, error))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({}, at byte {})", self.path.display(), self.offset)
    }
}
