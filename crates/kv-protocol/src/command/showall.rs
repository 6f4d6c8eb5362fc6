//! `SHOWALL [id]`
//!
//! Answers every pair. With an id, as that transaction sees it; without one, what is committed
//! with this session's own writes over it, each with its transaction's id as a third word.

use super::{CommandSpec, Example, Flags, Group};
use crate::request::Request;

pub(super) const SHOWALL: CommandSpec = CommandSpec {
    name: "SHOWALL",
    aliases: &[],
    group: Group::Lists,
    syntax: "SHOWALL [id]",
    summary: "every pair, with this session's uncommitted writes marked",
    detail: "Without an id it shows the newest committed state with this session's uncommitted \
             writes over it; each of those has its transaction's id as a third word, and NIL as \
             value if it is a delete. It takes no lock. With an id it shows every pair as that \
             transaction sees it.",
    examples: &[Example::new("SHOWALL", "\"house\" \"small\" 2\n\"street\" \"long\"\nEND 2")],
    flags: Flags::NONE,
    parse: |arguments| Ok(Request::ShowAll { txn: arguments.id()? }),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn an_id_may_be_named() {
        assert_eq!(parsed("SHOWALL"), Request::ShowAll { txn: None });
        assert_eq!(parsed("showall 2"), Request::ShowAll { txn: Some(2) });
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(argument_error("SHOWALL x"), "SHOWALL did not expect \"x\": SHOWALL [id]");
    }
}
