//! `CHECKPOINT` `BACKUP file`: what an operator has the server do with its files.
//!
//! Where a backup may be written is the server's to know: here any name that is not empty is one.

use std::borrow::Cow;

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::Arguments;

pub(super) const CHECKPOINT: CommandSpec = CommandSpec {
    name: "CHECKPOINT",
    aliases: &[],
    group: Group::Status,
    syntax: "CHECKPOINT",
    summary: "fold the log into the snapshot file now",
    detail: "Answers OK when everything committed before it is in the file. The server does the \
             same by itself every few seconds; ask for it before you read the file with another \
             program. A server that keeps no files answers ARGUMENT.",
    examples: &[Example::new("CHECKPOINT", "OK")],
    flags: Flags::ADMIN,
    parse: |_| Ok(Request::Checkpoint),
};

pub(super) const BACKUP: CommandSpec = CommandSpec {
    name: "BACKUP",
    aliases: &[],
    group: Group::Status,
    syntax: "BACKUP file",
    summary: "write a consistent copy of the data while serving",
    detail: "The file is an SQLite database in the directory that the server was given with \
             --backup-dir, named without a directory, and not as SQLite names its own files: \
             -wal, -shm, -journal at the end. It holds one state, that of a single \
             revision, and at least everything committed before the command. A file that exists \
             already is not replaced. Answers OK when the copy is on disk; without a --backup-dir \
             ARGUMENT.",
    examples: &[Example::new("BACKUP monday.sqlite", "OK")],
    flags: Flags::ADMIN,
    parse: backup,
};

fn backup<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let file: Cow<'a, [u8]> = arguments.need("the name of a file")?;
    if file.is_empty() {
        return Err(arguments.error(format_args!("needs the name of a file, got \"\"")));
    }
    Ok(Request::Backup { file })
}

pub(super) fn write_backup(out: &mut Vec<u8>, file: &[u8]) {
    writing::word(out, file);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn a_checkpoint_takes_no_word() {
        assert_eq!(parsed("checkpoint"), Request::Checkpoint);
        assert_eq!(
            argument_error("CHECKPOINT now"),
            "CHECKPOINT did not expect \"now\": CHECKPOINT"
        );
    }

    #[test]
    fn a_backup_takes_the_name_of_a_file() {
        let file = b"a b.sqlite".into();
        assert_eq!(parsed("backup \"a b.sqlite\""), Request::Backup { file });
        assert_eq!(argument_error("BACKUP"), "BACKUP needs the name of a file: BACKUP file");
        assert!(argument_error("BACKUP \"\"").contains("got \"\""));
        assert!(argument_error("BACKUP a b").contains("did not expect \"b\""));
    }
}
