//! CHECKPOINT and BACKUP: commands that take as long as the disk does.

use std::io;
use std::path::PathBuf;

use kv_core::Step;
use kv_persist::Error;
use kv_protocol::{ErrorCode, ErrorReply, Reply};

use super::{Client, Next};
use crate::config::Storage;
use crate::server::Server;

/// What is to be done where blocking harms nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Fold the log.
    Checkpoint,
    /// Write a copy to this file.
    Backup(PathBuf),
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
    /// Does a job. Blocks.
    ///
    /// # Errors
    ///
    /// Why it could not be done, for the client.
    pub fn run_job(&self, job: Job) -> Result<(), ErrorReply> {
        let Some(store) = self.store() else { return Ok(()) };
        let done = match job {
            Job::Checkpoint => store.checkpoint().checkpoint(),
            Job::Backup(path) => store.checkpoint().backup(path),
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
