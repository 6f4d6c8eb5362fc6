//! Files written past the system's cache (`O_DIRECT`), from their beginning to their end.
//!
//! A log is written once and synced at once; a cache between it and the disk only costs: a fresh
//! page for every 4 KiB, a copy into it, and the search for it when it is synced. Here the bytes
//! go from one buffer, used again and again, to the disk.
//!
//! Such writes begin and end at the borders of blocks. So the block that a write begins in is
//! written again, from a copy of what is before, and the block that it ends in is filled up with
//! zeros. The system's cache does the same; a power cut finds the old block or the new one, and
//! what is before the write is the same in both.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::File;

/// What writes are aligned to, in bytes: no disk in use has longer blocks.
const BLOCK_BYTES: usize = 4 << 10;
/// Most bytes of one write: it costs little beside what it writes, and fits a processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that is written from its beginning to its end. What follows a write in its block becomes
/// zeros.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: std::fs::File,
    window: Mutex<Window>,
}

/// What was written last.
#[derive(Debug)]
struct Window {
    /// Longer than it need be by a block, so that an aligned part of it is long enough.
    memory: Vec<u8>,
    /// Where in the file its aligned part begins; a multiple of the block's length.
    base: u64,
    /// How much of that part is the file's content, in bytes.
    filled: usize,
}

impl DirectFile {
    /// Goes on with a file this way, or gives it back, if its file system has no such way.
    pub(super) fn over(file: std::fs::File) -> Result<DirectFile, std::fs::File> {
        let memory = vec![0; BUFFER_BYTES + BLOCK_BYTES];
        match set_direct(&file, true) {
            Ok(_) => {
                let window = Window { memory, base: 0, filled: 0 };
                Ok(DirectFile { file, window: Mutex::new(window) })
            }
            Err(_) => Err(file),
        }
    }

    fn write_aligned(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match FileExt::write_at(&self.file, bytes, offset) {
            // It refuses only now: then it is written through the cache.
            Err(error) if is_refusal(&error) && set_direct(&self.file, false)? => {
                FileExt::write_at(&self.file, bytes, offset)
            }
            written => written,
        }
    }
}

/// Says whether a file is written past the cache from now on; answers whether that is news.
fn set_direct(file: &std::fs::File, is_direct: bool) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let mut wanted = flags;
    wanted.set(OFlags::DIRECT, is_direct);
    rustix::fs::fcntl_setfl(file, wanted)?;
    Ok(wanted != flags)
}

/// Whether it says that the file system cannot do this.
fn is_refusal(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INVAL)
}

impl Window {
    fn buffer(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        &mut self.memory[start..start + BUFFER_BYTES]
    }

    /// Has it begin with the block of `offset`, and with what the file has there before `offset`.
    fn move_to(&mut self, offset: u64, file: &DirectFile) -> io::Result<usize> {
        let base = offset - offset % BLOCK_BYTES as u64;
        let before = (offset - base) as usize;
        if (self.base..=self.base + self.filled as u64).contains(&offset) {
            let from = (base - self.base) as usize;
            self.buffer().copy_within(from..from + before, 0);
        } else if before > 0 {
            let mut block = vec![0; before];
            (file as &dyn File).read_full(&mut block, base)?;
            self.buffer()[..before].copy_from_slice(&block);
        }
        (self.base, self.filled) = (base, before);
        Ok(before)
    }
}

impl File for DirectFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let base = offset - offset % BLOCK_BYTES as u64;
        let before = (offset - base) as usize;
        let mut memory = vec![0; BLOCK_BYTES * 2];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        let block = &mut memory[start..start + BLOCK_BYTES];
        let read = FileExt::read_at(&self.file, block, base)?;
        let found = block[..read].get(before..).unwrap_or_default();
        let bytes = found.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&found[..bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut window = self.window.lock();
        let before = window.move_to(offset, self)?;
        let taken = bytes.len().min(BUFFER_BYTES - before);
        let end = before + taken;
        let padded = end.next_multiple_of(BLOCK_BYTES);
        let buffer = window.buffer();
        buffer[before..end].copy_from_slice(&bytes[..taken]);
        buffer[end..padded].fill(0);
        let base = offset - before as u64;
        let written = self.write_aligned(&buffer[..padded], base)?.min(end);
        window.filled = written.max(before);
        Ok(written.saturating_sub(before))
    }

    fn len(&self) -> io::Result<u64> {
        File::len(&self.file)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(&self.file, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(&self.file)
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn create(dir: &Path) -> DirectFile {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(dir.join("file")).expect("a file");
        DirectFile::over(file).expect("the sources are on a disk")
    }

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Appends, each perhaps a second time, as after a failure.
        #[test]
        fn what_is_appended_is_in_the_file(
            lengths in proptest::collection::vec(
                (prop_oneof![1..200usize, 4000..4200usize, 200_000..600_000usize], any::<bool>()),
                1..12,
            )
        ) {
            let dir = dir();
            let file = create(dir.path());
            let mut model = Vec::new();
            for (index, (length, is_repeated)) in lengths.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + index + 1) as u8).collect();
                let at = model.len() as u64;
                if is_repeated {
                    (&file as &dyn File).write_full(&bytes[..length / 2 + 1], at).expect("written");
                }
                (&file as &dyn File).write_full(&bytes, at).expect("written");
                model.extend_from_slice(&bytes);
            }
            let found = std::fs::read(dir.path().join("file")).expect("the file");
            prop_assert!(found[..model.len()] == model);
            prop_assert!(found[model.len()..].iter().all(|&byte| byte == 0));
            prop_assert!(found.len() - model.len() < BLOCK_BYTES);
            let mut read = vec![1; model.len()];
            let length = (&file as &dyn File).read_full(&mut read, 0).expect("read");
            prop_assert!(length == model.len() && read == model);
        }
    }

    #[test]
    fn a_write_far_from_the_last_keeps_what_is_before_it() {
        let dir = dir();
        let file = create(dir.path());
        let file: &dyn File = &file;
        file.write_full(&[7; 10_000], 0).expect("written");
        file.write_full(&[8; 10], 5_000).expect("written");
        file.write_full(&[9; 10], 9_000).expect("written");
        let found = std::fs::read(dir.path().join("file")).expect("the file");
        assert!(found[..5_000].iter().all(|&byte| byte == 7));
        assert!(found[5_000..5_010].iter().all(|&byte| byte == 8));
        assert!(found[8_192..9_000].iter().all(|&byte| byte == 7));
        assert!(found[9_000..9_010].iter().all(|&byte| byte == 9));
        assert!(found[9_010..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn without_directness_it_writes_the_same() {
        let dir = dir();
        let file = create(dir.path());
        assert!(set_direct(&file.file, false).expect("it can"));
        assert!(!set_direct(&file.file, false).expect("it can"));
        (&file as &dyn File).write_full(b"bytes", 0).expect("written");
        assert!(std::fs::read(dir.path().join("file")).expect("the file").starts_with(b"bytes"));
    }
}
