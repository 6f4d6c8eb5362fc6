//! A file system that exists only in memory, and crashes when it is told to.
//!
//! It keeps two states apart: *live*, what a program sees, and *durable*, what survives a power
//! cut. A file's content passes from one to the other by a sync of the file, a name by a sync of
//! its directory. What has not passed may survive or not, in parts and in any order.
//!
//! Each operation that changes something counts as one I/O. At the one that was chosen the system
//! goes down: the operation takes effect in part, as a whole or not at all, and everything after it
//! fails until [`SimFs::restart`]. Operations that only read do not count, because a crash before
//! one leaves the same as a crash before the next that changes something. All chance comes from one
//! seed.

mod directory;
mod fault;
mod file;
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_persist::fs::{Access, File, FileSystem};
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::directory::{Directory, Inode};
pub(crate) use self::fault::{Fault, Operation};
use self::file::{Content, Fate, Sequence};

/// What a restart finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Only the process died: everything is as it was, and what was not synced still is not.
    Killed,
    /// The power was cut just after everything had been written back.
    Kept,
    /// The power was cut, and nothing had been written back.
    Lost,
    /// The power was cut, and the disk had written some of it, in an order of its own.
    Reordered,
    /// The power was cut, and the disk had written all up to some moment, the last sector in part.
    Torn,
}

impl Restart {
    pub(crate) const ALL: [Restart; 5] =
        [Restart::Killed, Restart::Kept, Restart::Lost, Restart::Reordered, Restart::Torn];
}

/// The file system. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    random: StdRng,
    files: BTreeMap<Inode, Content>,
    directories: BTreeMap<PathBuf, Directory>,
    inodes_made: Inode,
    changes_made: Sequence,
    /// Operations that changed something, or were to.
    ios: u64,
    crash_at: Option<u64>,
    is_down: bool,
    /// How often it was started; files opened before the last time are of no use.
    starts: u64,
    faults: Vec<(u64, Fault)>,
    /// How many bytes the files may have together.
    capacity_bytes: Option<u64>,
    /// A write has lied.
    lie: Option<Lie>,
    /// What was done, for people; none unless it was asked for.
    trace: Option<Vec<String>>,
}

/// What came after a write that lied.
#[derive(Debug, Clone, Copy, Default)]
struct Lie {
    has_writes_after: bool,
    has_synced_writes_after: bool,
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<Mutex<Disk>>,
    inode: Inode,
    access: Access,
    start: u64,
    /// As it was opened, for the trace.
    path: PathBuf,
}

impl SimFs {
    /// An empty file system that has these directories.
    pub(crate) fn new(seed: u64, directories: &[&Path]) -> SimFs {
        let empty = |&path: &&Path| (path.to_owned(), Directory::default());
        let disk = Disk {
            random: StdRng::seed_from_u64(seed),
            files: BTreeMap::new(),
            directories: directories.iter().map(empty).collect(),
            inodes_made: 0,
            changes_made: 0,
            ios: 0,
            crash_at: None,
            is_down: false,
            starts: 0,
            faults: Vec::new(),
            capacity_bytes: None,
            lie: None,
            trace: None,
        };
        SimFs { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Another one in the same state, that goes its own way from here.
    pub(crate) fn fork(&self, seed: u64) -> SimFs {
        let disk = self.disk.lock();
        let disk = Disk {
            random: StdRng::seed_from_u64(seed),
            files: disk.files.clone(),
            directories: disk.directories.clone(),
            faults: disk.faults.clone(),
            trace: disk.trace.clone(),
            ..*disk
        };
        SimFs { disk: Arc::new(Mutex::new(disk)) }
    }

    /// How many I/Os there have been.
    pub(crate) fn ios(&self) -> u64 {
        self.disk.lock().ios
    }

    /// It is to go down at this I/O, the first being 1.
    pub(crate) fn crash_at(&self, io: u64) {
        self.disk.lock().crash_at = Some(io);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.disk.lock().is_down
    }

    /// It goes down now, between two I/Os.
    pub(crate) fn crash_now(&self) {
        self.disk.lock().is_down = true;
    }

    /// Lets the first operation that the fault concerns fail, at this I/O or later.
    pub(crate) fn fault_at(&self, io: u64, fault: Fault) {
        self.disk.lock().faults.push((io, fault));
    }

    /// Faults that have not happened yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.disk.lock().faults.len()
    }

    /// Takes back all that is wrong, or was to go wrong.
    pub(crate) fn mend(&self) {
        let mut disk = self.disk.lock();
        disk.faults.clear();
        disk.capacity_bytes = None;
        disk.crash_at = None;
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity_bytes = bytes;
    }

    /// Whether a write has lied; true if it was the last that the disk has.
    pub(crate) fn lie(&self) -> Option<bool> {
        self.disk.lock().lie.map(|lie| !lie.has_writes_after)
    }

    /// How many bytes the files have together.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.disk.lock().used_bytes()
    }

    /// From now on it is noted what is done; answers what has been noted.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.disk.lock().trace.replace(Vec::new()).unwrap_or_default()
    }

    /// Every file that there is.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let disk = self.disk.lock();
        let mut contents = BTreeMap::new();
        for (path, directory) in &disk.directories {
            for (name, inode) in &directory.live {
                contents.insert(path.join(name), disk.files[inode].live.clone());
            }
        }
        contents
    }

    /// Starts it again after a crash, or in the middle of everything: what was open is closed. A
    /// crash that has not come yet is still to come.
    pub(crate) fn restart(&self, how: Restart) {
        let mut disk = self.disk.lock();
        disk.note(|| format!("-- restart: {how:?}"));
        disk.is_down = false;
        disk.starts += 1;
        if how != Restart::Killed {
            disk.cut_power(how);
        }
        disk.forget_unnamed();
    }
}

impl Disk {
    fn used_bytes(&self) -> u64 {
        let inodes = self.directories.values().flat_map(|directory| directory.live.values());
        inodes.map(|inode| self.files[inode].live.len() as u64).sum()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let io = self.ios;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{io}: {}", what()));
        }
    }

    fn cut_power(&mut self, how: Restart) {
        if let Some(lie) = &mut self.lie {
            lie.has_writes_after = lie.has_synced_writes_after;
        }
        let Disk { random, files, directories, .. } = self;
        let mut last = Sequence::MAX;
        if how == Restart::Torn {
            let in_files = files.values().flat_map(Content::unsynced);
            let in_directories = directories.values().flat_map(Directory::unsynced);
            let mut unsynced: Vec<Sequence> = in_files.chain(in_directories).collect();
            unsynced.sort_unstable();
            // A moment before, between or after them.
            last = match random.random_range(0..=unsynced.len()) {
                0 => 0,
                after => unsynced[after - 1],
            };
        }
        let fate = |sequence: Sequence, random: &mut StdRng| match how {
            Restart::Killed | Restart::Kept => Fate::Kept,
            Restart::Lost => Fate::Lost,
            Restart::Reordered if random.random() => Fate::Kept,
            Restart::Reordered => Fate::Lost,
            Restart::Torn if sequence == last && random.random() => Fate::Torn,
            Restart::Torn if sequence <= last => Fate::Kept,
            Restart::Torn => Fate::Lost,
        };
        let mut fates = StdRng::from_rng(random);
        for content in files.values_mut() {
            content.cut_power(|sequence| fate(sequence, &mut fates), random);
        }
        for directory in directories.values_mut() {
            directory.cut_power(|sequence| fate(sequence, &mut fates));
        }
    }

    fn forget_unnamed(&mut self) {
        let Disk { files, directories, .. } = self;
        let is_named = |inode: &Inode| {
            let mut names = directories.values().flat_map(|directory| directory.names());
            names.any(|named| named == *inode)
        };
        files.retain(|inode, _| is_named(inode));
    }

    fn lookup(&self, path: &Path) -> Option<Inode> {
        let directory = self.directories.get(path.parent()?)?;
        directory.live.get(path.file_name()?.to_str()?).copied()
    }

    fn next_sequence(&mut self) -> Sequence {
        self.changes_made += 1;
        self.changes_made
    }

    fn check_up(&self) -> io::Result<()> {
        if self.is_down {
            return Err(io::Error::other("the simulated system is down"));
        }
        Ok(())
    }

    /// Does an operation that changes something, unless the system is down. At the chosen I/O it is
    /// done or not, and the system goes down.
    fn change<T>(
        &mut self,
        note: impl FnOnce() -> String,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.check_up()?;
        self.ios += 1;
        self.note(note);
        if self.crash_at == Some(self.ios) {
            self.is_down = true;
            self.crash_at = None;
            if self.random.random() {
                let _ = change(self);
            }
            return Err(io::Error::other("the simulated system goes down"));
        }
        change(self)
    }

    fn directory_of(&mut self, path: &Path) -> io::Result<(&mut Directory, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.directories.get_mut(parent).ok_or(io::ErrorKind::NotFound)?;
        Ok((directory, name))
    }

    /// A file, and the number of the last change.
    fn content(&mut self, inode: Inode) -> (&mut Content, &mut Sequence) {
        let Disk { files, changes_made, .. } = self;
        (files.get_mut(&inode).expect("an open file is there"), changes_made)
    }

    fn length(&self, inode: Inode) -> usize {
        self.files[&inode].live.len()
    }
}

impl FileSystem for SimFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk.lock();
        let note = || format!("create {}", path.display());
        let inode = disk.change(note, |disk| {
            disk.refuse(Operation::Create)?;
            let (inode, sequence) = (disk.inodes_made + 1, disk.next_sequence());
            let (directory, name) = disk.directory_of(path)?;
            if directory.live.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            directory.link(&name, inode, sequence);
            disk.inodes_made = inode;
            disk.files.insert(inode, Content::default());
            Ok(inode)
        })?;
        Ok(self.opened(&disk, inode, Access::Write, path))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let disk = self.disk.lock();
        disk.check_up()?;
        let inode = disk.lookup(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.opened(&disk, inode, access, path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.check_up()?;
        let directory = disk.directories.get(dir).ok_or(io::ErrorKind::NotFound)?;
        Ok(directory.live.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "renames between directories are not simulated");
        let note = || format!("rename {} to {}", from.display(), to.display());
        self.disk.lock().change(note, |disk| {
            disk.refuse(Operation::Rename)?;
            let inode = disk.lookup(from).ok_or(io::ErrorKind::NotFound)?;
            let sequence = disk.next_sequence();
            let (_, to) = disk.directory_of(to)?;
            let (directory, from) = disk.directory_of(from)?;
            directory.rename(&from, &to, inode, sequence);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().change(
            || format!("remove {}", path.display()),
            |disk| {
                disk.refuse(Operation::Remove)?;
                disk.lookup(path).ok_or(io::ErrorKind::NotFound)?;
                let sequence = disk.next_sequence();
                let (directory, name) = disk.directory_of(path)?;
                directory.unlink(&name, sequence);
                Ok(())
            },
        )
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.lock().change(
            || format!("sync directory {}", dir.display()),
            |disk| {
                disk.refuse(Operation::SyncDir)?;
                disk.directories.get_mut(dir).ok_or(io::ErrorKind::NotFound)?.sync();
                Ok(())
            },
        )
    }
}

impl SimFs {
    fn opened(&self, disk: &Disk, inode: Inode, access: Access, path: &Path) -> Box<dyn File> {
        let file = SimFile {
            disk: Arc::clone(&self.disk),
            inode,
            access,
            start: disk.starts,
            path: path.to_owned(),
        };
        Box::new(file)
    }
}

impl SimFile {
    /// The disk, if this file was opened since its last start.
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        disk.check_up()?;
        if disk.starts != self.start {
            return Err(io::Error::other("opened before the simulated system was restarted"));
        }
        Ok(disk)
    }

    /// The disk, if this file may be changed.
    fn disk_to_write(&self) -> io::Result<MutexGuard<'_, Disk>> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk()
    }

    fn note(&self, what: &str) -> String {
        format!("{what} {}", self.path.display())
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk()?;
        disk.refuse(Operation::Read)?;
        let live = &disk.files[&self.inode].live;
        let rest = live.get(offset as usize..).unwrap_or_default();
        let bytes = buffer.len().min(rest.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk_to_write()?;
        let offset = offset as usize;
        let note = || format!("{} at {offset}: {} bytes", self.note("write"), bytes.len());
        disk.change(note, |disk| {
            let mut bytes = bytes;
            if disk.is_down {
                // The crash has cut it short.
                bytes = &bytes[..disk.random.random_range(0..=bytes.len())];
            }
            let length = disk.length(self.inode);
            let mut written = disk.writable(Operation::Write, length, offset, bytes.len())?;
            if let Some(cut) = disk.cut_short(bytes.len()) {
                written = written.min(cut?);
            }
            if disk.lies() {
                disk.lie = Some(Lie::default());
                return Ok(written);
            }
            if let Some(lie) = &mut disk.lie {
                lie.has_writes_after = true;
            }
            let (content, last) = disk.content(self.inode);
            content.write(&bytes[..written], offset, last);
            Ok(written)
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.length(self.inode) as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk_to_write()?;
        let note = || format!("{} to {bytes} bytes", self.note("set length of"));
        disk.change(note, |disk| {
            disk.refuse(Operation::SetLen)?;
            let (content, last) = disk.content(self.inode);
            content.set_len(bytes as usize, last);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk_to_write()?;
        let note = || format!("{}: {bytes} bytes", self.note("allocate"));
        disk.change(note, |disk| {
            disk.refuse(Operation::Allocate)?;
            let length = disk.length(self.inode);
            let wanted = (bytes as usize).saturating_sub(length);
            if wanted > 0 {
                if disk.writable(Operation::Allocate, length, length, wanted)? < wanted {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let (content, last) = disk.content(self.inode);
                content.set_len(bytes as usize, last);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        // A file that is only read can be synced as well.
        let mut disk = self.disk()?;
        disk.change(
            || self.note("sync"),
            |disk| {
                let refused = disk.refuse(Operation::Sync);
                let Disk { files, random, lie, .. } = disk;
                let content = files.get_mut(&self.inode).expect("an open file is there");
                if let Some(lie) = lie {
                    lie.has_synced_writes_after |= lie.has_writes_after && refused.is_ok();
                }
                match refused {
                    Ok(()) => content.sync(),
                    Err(_) => content.fail_to_sync(random),
                }
                refused
            },
        )
    }

    fn is_at(&self, path: &Path) -> bool {
        self.disk.lock().lookup(path) == Some(self.inode)
    }
}
