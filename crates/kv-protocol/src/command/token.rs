//! `TOKEN [id]`, `ATTACH token`
//!
//! The first answers a quoted value, the token; the second `OK id`, as BEGIN does. What a token is
//! made of is known to the server.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::Arguments;

pub(super) const TOKEN: CommandSpec = CommandSpec {
    name: "TOKEN",
    aliases: &[],
    group: Group::Transactions,
    syntax: "TOKEN [id]",
    summary: "the token by which any connection can go on with a transaction",
    detail: "Answers the token of the named or the current transaction's root: 128 random bits, \
             by which ATTACH, or the header Kv-Transaction over HTTP, takes it up with all that \
             is nested in it. Who has it can read, write and end the transaction. From then on \
             the transaction no longer ends with this connection: only COMMIT, ROLLBACK or the \
             idle limit ends it. COMMITALL and SHOWALL without id pass it by, and others see it as \
             a session of its own. One command at a time runs in it; another meanwhile is answered \
             BUSY. Idle for too long, it answers ABORTED for as long again, then NOTX.",
    examples: &[Example::new("TOKEN", "\"9f86d081884c7d659a2feaa0c55ad015\"")],
    flags: Flags::CONTROLS,
    parse: |arguments| Ok(Request::Token { txn: arguments.id()? }),
};

pub(super) const ATTACH: CommandSpec = CommandSpec {
    name: "ATTACH",
    aliases: &[],
    group: Group::Transactions,
    syntax: "ATTACH token",
    summary: "go on with the transaction of a token; answers its id here",
    detail: "The token comes from TOKEN, or from /begin over HTTP. Each open transaction of the \
             token gets an id of this session; answered is that of the innermost, which is the \
             current one from now on. The transaction does not end with this connection. A token \
             that is not known, or whose transaction has ended, is answered NOTX.",
    examples: &[Example::new("ATTACH 9f86d081884c7d659a2feaa0c55ad015", "OK 1")],
    flags: Flags::CONTROLS,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    Ok(Request::Attach { token: arguments.need("a token")? })
}

pub(super) fn write_attach(out: &mut Vec<u8>, token: &[u8]) {
    writing::word(out, token);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn a_token_is_asked_for_and_given() {
        assert_eq!(parsed("TOKEN"), Request::Token { txn: None });
        assert_eq!(parsed("token 3"), Request::Token { txn: Some(3) });
        assert_eq!(parsed("ATTACH 00ff"), Request::Attach { token: b"00ff".into() });
        assert_eq!(parsed("attach \"\""), Request::Attach { token: b"".into() });
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(argument_error("TOKEN x").contains("did not expect \"x\""));
        assert!(argument_error("TOKEN 1 2").contains("the number \"2\""));
        assert!(argument_error("ATTACH").contains("needs a token"));
        assert!(argument_error("ATTACH 00ff 1").contains("did not expect \"1\""));
    }
}
