//! `COMMIT [id]`, `ROLLBACK [id]`, `COMMITALL`
//!
//! The first two answer `OK`, the last `OK n`. Which transactions are open is known to the server.

use super::{CommandSpec, Example, Flags, Group};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::Arguments;

pub(super) const COMMIT: CommandSpec = CommandSpec {
    name: "COMMIT",
    aliases: &[],
    group: Group::Transactions,
    syntax: "COMMIT [id]",
    summary: "commit a transaction",
    detail: "Commits the named or the current transaction, its open child first. A nested \
             transaction is folded into its parent; what an outermost one wrote is on disk when \
             OK arrives, unless the server was told to be faster than that. With none open it \
             answers NOTX.",
    examples: &[Example::new("COMMIT", "OK"), Example::new("COMMIT 1", "OK")],
    flags: Flags::CONTROLS,
    parse: |arguments| Ok(Request::Commit { txn: arguments.id()? }),
};

pub(super) const ROLLBACK: CommandSpec = CommandSpec {
    name: "ROLLBACK",
    aliases: &[],
    group: Group::Transactions,
    syntax: "ROLLBACK [id]",
    summary: "undo a transaction",
    detail: "Undoes the named or the current transaction and its open child. A nested \
             transaction's parent stays open. With none open it answers NOTX.",
    examples: &[Example::new("ROLLBACK", "OK"), Example::new("ROLLBACK 2", "OK")],
    flags: Flags::CONTROLS,
    parse: |arguments| Ok(Request::Rollback { txn: arguments.id()? }),
};

pub(super) const COMMITALL: CommandSpec = CommandSpec {
    name: "COMMITALL",
    aliases: &[],
    group: Group::Transactions,
    syntax: "COMMITALL",
    summary: "commit every transaction of this session; answers how many",
    detail: "Roots are committed by ascending id, and children count too. If some fail, the \
             error names how many were committed and which were not; those stay as they are.",
    examples: &[Example::new("COMMITALL", "OK 2")],
    flags: Flags::CONTROLS,
    parse: commit_all,
};

fn commit_all<'a>(_: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    Ok(Request::CommitAll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn an_id_may_be_named() {
        assert_eq!(parsed("COMMIT"), Request::Commit { txn: None });
        assert_eq!(parsed("commit 3"), Request::Commit { txn: Some(3) });
        assert_eq!(parsed("ROLLBACK \"3\""), Request::Rollback { txn: Some(3) });
        assert_eq!(parsed("CommitAll"), Request::CommitAll);
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(argument_error("COMMIT x"), "COMMIT did not expect \"x\": COMMIT [id]");
        assert!(argument_error("COMMIT 1 2").contains("the number \"2\""));
        assert!(argument_error("ROLLBACK -1").contains("did not expect \"-1\""));
        assert!(argument_error("COMMIT 18446744073709551616").contains("from 0 to"));
        assert!(argument_error("COMMITALL 1").contains("did not expect \"1\""));
    }
}
