//! HELLO, AUTH, RESET, CLIENT: what a client says of itself, and asks about others.

use std::sync::Arc;

use kv_protocol::RespVersion;
use kv_protocol::redis::{ClientCommand, ClientFilter, Hello, Refusal};
use kv_protocol::resp::write;

use super::{Client, Next, Run};
use crate::clients::ClientInfo;
use crate::limits::CLIENT_NAME_BYTES_MAX;

/// The version of Redis whose dialect this is, for clients that go by it.
pub(super) const REDIS_VERSION: &str = "7.2.0";

const HELP: [&str; 8] = [
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ID, GETNAME, INFO: this connection's number, name, and all that LIST shows of it.",
    "SETNAME <name>: names this connection.",
    "SETINFO <LIB-NAME | LIB-VER> <value>: says which library speaks.",
    "LIST [TYPE <type> | ID <id> ...]: a line for each connection.",
    "KILL <ip:port>: ends a connection.",
    "KILL [ID <id>] [ADDR <ip:port>] [LADDR <ip:port>] [TYPE <type>] [USER <name>] \
     [SKIPME <yes | no>]: ends all that fit.",
    "HELP: this.",
];

impl Client {
    pub(super) fn hello(&mut self, hello: &Hello<'_>, out: &mut Vec<u8>) -> Run<()> {
        if let Some((user, _)) = hello.auth {
            check_user(user)?;
        }
        if let Some(name) = hello.name {
            self.set_name(name)?;
        }
        match hello.version {
            Some(3) => self.dialect.version = RespVersion::V3,
            Some(_) => self.dialect.version = RespVersion::V2,
            None => {}
        }
        let version = self.dialect.version;
        self.answer_in_resp();
        self.info.state().is_resp3 = version == RespVersion::V3;
        write::map(out, version, 7);
        for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            write::bulk(out, name.as_bytes());
            write::bulk(out, value.as_bytes());
        }
        write::bulk(out, b"proto");
        write::integer(out, if version == RespVersion::V3 { 3 } else { 2 });
        write::bulk(out, b"id");
        write::integer(out, i64::try_from(self.info.id).unwrap_or(i64::MAX));
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            write::bulk(out, name.as_bytes());
            write::bulk(out, value.as_bytes());
        }
        write::bulk(out, b"modules");
        write::array(out, 0);
        Ok(())
    }

    pub(super) fn auth(&mut self, user: Option<&[u8]>, out: &mut Vec<u8>) -> Run<()> {
        match user {
            None => {
                return Err(Refusal::new(
                    "ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                )
                .into());
            }
            Some(user) => check_user(user)?,
        }
        write::simple(out, "OK");
        Ok(())
    }

    /// Makes the connection as if it were new, but for its number.
    pub(super) fn reset(&mut self, out: &mut Vec<u8>) {
        self.end_multi();
        self.roll_back_all();
        self.let_go();
        self.dialect.version = RespVersion::V2;
        self.answer_in_resp();
        let mut state = self.info.state();
        state.name.clear();
        state.is_resp3 = false;
        drop(state);
        write::simple(out, "RESET");
    }

    pub(super) fn client(&mut self, part: &ClientCommand<'_>, out: &mut Vec<u8>) -> Run<Next> {
        let version = self.dialect.version;
        match part {
            ClientCommand::Id => {
                write::integer(out, i64::try_from(self.info.id).unwrap_or(i64::MAX));
            }
            ClientCommand::GetName => {
                let name = self.info.state().name.clone();
                match name.as_str() {
                    "" => write::null(out, version),
                    name => write::bulk(out, name.as_bytes()),
                }
            }
            ClientCommand::SetName(name) => {
                self.set_name(name)?;
                write::simple(out, "OK");
            }
            ClientCommand::SetInfo(attribute, value) => {
                self.set_info(attribute, value)?;
                write::simple(out, "OK");
            }
            ClientCommand::Info => {
                self.tell_state();
                write::verbatim(out, version, &format!("{}\n", *self.info));
            }
            ClientCommand::List(filter) => {
                self.tell_state();
                let clients = self.server.clients().all();
                let fitting = clients.iter().filter(|client| self.fits(client, filter));
                let lines: String = fitting.map(|client| format!("{client}\n")).collect();
                write::verbatim(out, version, &lines);
            }
            ClientCommand::Kill(filter, is_counted) => {
                return self.kill(filter, *is_counted, out);
            }
            ClientCommand::Help => help(&HELP, out),
        }
        Ok(Next::Request)
    }

    fn kill(
        &mut self,
        filter: &ClientFilter<'_>,
        is_counted: bool,
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        let clients = self.server.clients().all();
        // What is no connection does not end by where it came from, only by its number.
        let is_meant = |of: &&Arc<ClientInfo>| !of.is_detached() || filter.ids.is_some();
        let fitting = clients.iter().filter(|client| self.fits(client, filter)).filter(is_meant);
        let fitting: Vec<&Arc<ClientInfo>> = fitting.collect();
        if !is_counted && fitting.is_empty() {
            return Err(Refusal::new("ERR No such client").into());
        }
        match is_counted {
            true => write::integer(out, i64::try_from(fitting.len()).unwrap_or(i64::MAX)),
            false => write::simple(out, "OK"),
        }
        let mut next = Next::Request;
        for client in fitting {
            if client.id == self.info.id {
                next = Next::Close;
            } else if client.is_detached() {
                self.server.tokens().kill(client.id);
            } else {
                client.cut();
            }
        }
        Ok(next)
    }

    fn fits(&self, client: &ClientInfo, filter: &ClientFilter<'_>) -> bool {
        let is_address = |wanted: Option<&[u8]>, address: &str| {
            wanted.is_none_or(|wanted| wanted == address.as_bytes())
        };
        filter.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && is_address(filter.address, &client.address)
            && is_address(filter.local_address, &client.local_address)
            && filter.user.is_none_or(|user| user == b"default")
            && !filter.is_other_type
            && !(filter.skip_me && client.id == self.info.id)
    }

    fn set_name(&mut self, name: &[u8]) -> Run<()> {
        let name = plain_text(name).ok_or(Refusal::new(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ))?;
        self.info.state().name = name;
        Ok(())
    }

    fn set_info(&mut self, attribute: &[u8], value: &[u8]) -> Run<()> {
        let shown = String::from_utf8_lossy(attribute);
        let value = plain_text(value).ok_or_else(|| {
            let text =
                format!("ERR {shown} cannot contain spaces, newlines or special characters.");
            Refusal::from(text)
        })?;
        let mut state = self.info.state();
        match attribute {
            name if name.eq_ignore_ascii_case(b"lib-name") => state.library.0 = value,
            name if name.eq_ignore_ascii_case(b"lib-ver") => state.library.1 = value,
            _ => return Err(Refusal::from(format!("ERR Unrecognized option '{shown}'")).into()),
        }
        Ok(())
    }

    /// Brings what others are shown of its transactions up to date, without it being active.
    pub(crate) fn tell_open(&self) {
        self.info.tell_open(self.session.transactions_by_tree());
    }

    /// Brings what others are shown of this client up to date; to be called now and then.
    pub(crate) fn tell_state(&mut self) {
        let (queued, watched) = (self.queued(), self.watched());
        let mut state = self.info.state();
        state.active = std::time::Instant::now();
        if self.session.has_open_transactions() || !state.open.is_empty() {
            state.tell_open(self.session.transactions_by_tree());
        }
        state.command = self.last_command;
        state.queued = queued;
        state.watched = watched;
    }
}

/// There is one user, and no password.
fn check_user(user: &[u8]) -> Result<(), Refusal> {
    if user == b"default" {
        return Ok(());
    }
    Err(Refusal::new("WRONGPASS invalid username-password pair or user is disabled."))
}

/// Text that is one word of printable ASCII characters, or empty.
fn plain_text(bytes: &[u8]) -> Option<String> {
    let is_plain = bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    text.filter(|text| is_plain && text.len() <= CLIENT_NAME_BYTES_MAX)
}

/// The parts of a command, for people.
pub(super) fn help(lines: &[&str], out: &mut Vec<u8>) {
    write::array(out, lines.len());
    lines.iter().for_each(|line| write::simple(out, line));
}
