//! Faults short of a crash: what a system refuses, cuts short, or claims to have done.

use std::io;

use super::Disk;

/// What a program asks of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    SetLen,
    Allocate,
    Sync,
}

/// Something that goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation is refused. A refused write has written nothing. A refused sync has made any
    /// part durable, and no later one brings the rest.
    Refused(Operation, io::ErrorKind),
    /// A write stops after so many bytes, without an error.
    ShortWrite(usize),
    /// A write claims to be done, and nothing was written.
    LyingWrite,
    /// From now on there is room for so many bytes more, and no others.
    Full(u64),
}

impl Fault {
    fn concerns(self, operation: Operation) -> bool {
        match self {
            Fault::Refused(refused, _) => refused == operation,
            Fault::ShortWrite(_) | Fault::LyingWrite => operation == Operation::Write,
            Fault::Full(_) => matches!(operation, Operation::Write | Operation::Allocate),
        }
    }
}

impl Disk {
    /// The fault that is due for this operation, if it is one of these.
    fn due(&mut self, operation: Operation, is_it: impl Fn(Fault) -> bool) -> Option<Fault> {
        let ios = self.ios;
        let is_due =
            |&(at, fault): &(u64, Fault)| at <= ios && fault.concerns(operation) && is_it(fault);
        let place = self.faults.iter().position(is_due)?;
        let (_, fault) = self.faults.swap_remove(place);
        self.note(|| format!("   {fault:?}"));
        Some(fault)
    }

    /// Refuses an operation, if that is due.
    pub(super) fn refuse(&mut self, operation: Operation) -> io::Result<()> {
        match self.due(operation, |fault| matches!(fault, Fault::Refused(..))) {
            Some(Fault::Refused(_, kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// How much of a write is done, if a fault is due.
    pub(super) fn cut_short(&mut self, bytes: usize) -> Option<io::Result<usize>> {
        if let Err(error) = self.refuse(Operation::Write) {
            return Some(Err(error));
        }
        match self.due(Operation::Write, |fault| matches!(fault, Fault::ShortWrite(_)))? {
            Fault::ShortWrite(at) => Some(Ok(at.min(bytes))),
            Fault::Refused(..) | Fault::LyingWrite | Fault::Full(_) => None,
        }
    }

    /// Whether a write is only to claim that it is done.
    pub(super) fn lies(&mut self) -> bool {
        self.due(Operation::Write, |fault| fault == Fault::LyingWrite).is_some()
    }

    /// How much of a write to a file of this length the capacity lets be done; 0 bytes of something
    /// is an error.
    pub(super) fn writable(
        &mut self,
        operation: Operation,
        length: usize,
        offset: usize,
        bytes: usize,
    ) -> io::Result<usize> {
        if let Some(Fault::Full(left)) =
            self.due(operation, |fault| matches!(fault, Fault::Full(_)))
        {
            self.capacity_bytes = Some(self.used_bytes() + left);
        }
        let Some(capacity) = self.capacity_bytes else { return Ok(bytes) };
        let free = capacity.saturating_sub(self.used_bytes());
        let end_max = length.saturating_add(usize::try_from(free).unwrap_or(usize::MAX));
        match end_max.saturating_sub(offset).min(bytes) {
            0 if bytes > 0 => Err(io::ErrorKind::StorageFull.into()),
            writable => Ok(writable),
        }
    }
}
