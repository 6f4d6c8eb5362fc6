//! CHECKPOINT and BACKUP: commands that take as long as the disk does.
//!
//! Each blocks a thread till it is done, so only a few are let in; whoever comes after is told to
//! try again. The two are counted apart: a checkpoint does not wait for a backup, during which
//! folds go on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kv_core::Step;
use kv_persist::Error;
use kv_protocol::{ErrorCode, ErrorReply, Reply};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::{Client, Next};
use crate::config::Storage;
use crate::limits;
use crate::server::Server;

/// What is to be done where blocking harms nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Fold the log.
    Checkpoint,
    /// Write a copy to this file.
    Backup(PathBuf),
}

/// Who is let in.
#[derive(Debug)]
pub struct Jobs {
    checkpoints: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    /// Held while a backup is written: one at a time.
    writes_backup: Mutex<()>,
}

/// A job that was let in. It has its place until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    job: Job,
    _place: OwnedSemaphorePermit,
}

impl Default for Jobs {
    fn default() -> Jobs {
        let places = || Arc::new(Semaphore::new(limits::JOBS_MAX));
        Jobs { checkpoints: places(), backups: places(), writes_backup: Mutex::new(()) }
    }
}

impl Jobs {
    /// Lets a job in, which may have to wait for its turn.
    ///
    /// # Errors
    ///
    /// The refusal, if too many are there already.
    pub fn admit(&self, job: Job) -> Result<Admitted, ErrorReply> {
        let (places, name) = match job {
            Job::Checkpoint => (&self.checkpoints, "CHECKPOINT"),
            Job::Backup(_) => (&self.backups, "BACKUP"),
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(Admitted { job, _place: place }),
            Err(_) => {
                let text = format!(
                    "{} {name}s are under way or wait already; try again when one of them is done",
                    limits::JOBS_MAX
                );
                Err(ErrorReply::new(ErrorCode::Limit, text))
            }
        }
    }
}

impl Client {
    pub(super) fn checkpoint(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        match self.server.store() {
            Some(_) => Ok(Next::Job(Job::Checkpoint)),
            None => self.refuse_without_files(out),
        }
    }

    pub(super) fn backup(&mut self, out: &mut Vec<u8>, file: &[u8]) -> Step<Next> {
        let Storage::Directory(directory) = &self.server.config().storage else {
            return self.refuse_without_files(out);
        };
        match directory.backup_file(file) {
            Ok(path) => Ok(Next::Job(Job::Backup(path))),
            Err(refusal) => self.reply(out, &Reply::Error(refusal)),
        }
    }

    fn refuse_without_files(&self, out: &mut Vec<u8>) -> Step<Next> {
        let text = "this server keeps everything in memory; start it without --in-memory";
        self.reply(out, &Reply::Error(ErrorReply::new(ErrorCode::Argument, text)))
    }

    /// Answers a job that has been done.
    pub fn answer_job(&self, done: Result<(), ErrorReply>, out: &mut Vec<u8>) {
        match done {
            Ok(()) => Reply::Done.write(out, self.format),
            Err(refusal) => self.refuse(&refusal, None, out),
        }
    }
}

impl Server {
    /// Does a job, when it is its turn. Blocks.
    ///
    /// # Errors
    ///
    /// Why it could not be done, for the client.
    pub fn run_job(&self, admitted: Admitted) -> Result<(), ErrorReply> {
        let Admitted { job, _place } = admitted;
        let Some(store) = self.store() else { return Ok(()) };
        let done = match job {
            Job::Checkpoint => store.checkpoint().checkpoint(),
            Job::Backup(path) => {
                let _turn = self.jobs().writes_backup.blocking_lock();
                store.checkpoint().backup(path)
            }
        };
        done.map(|_| ()).map_err(|error| refusal(&error))
    }
}

/// An error of the files as it goes over the wire.
fn refusal(error: &Error) -> ErrorReply {
    let exists = |source: &io::Error| source.kind() == io::ErrorKind::AlreadyExists;
    let code = match error {
        full if full.is_full() => ErrorCode::DiskFull,
        Error::Io { source, .. } if exists(source) => ErrorCode::Argument,
        _ => ErrorCode::Io,
    };
    ErrorReply::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_jobs_of_a_kind_are_let_in_and_others_when_one_is_done() {
        let jobs = Jobs::default();
        let admit = || jobs.admit(Job::Checkpoint);
        let mut admitted: Vec<_> = (0..limits::JOBS_MAX).map(|_| admit().unwrap()).collect();
        let refused = admit().unwrap_err();
        assert_eq!(refused.code, ErrorCode::Limit);
        assert!(refused.text.contains("try again"), "{refused}");
        assert!(jobs.admit(Job::Backup("a".into())).is_ok(), "the other kind is not held up");
        admitted.pop();
        assert!(admit().is_ok());
    }
}
