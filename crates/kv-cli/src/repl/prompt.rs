//! The prompt: which server, and what is open there.
//!
//! `kv 127.0.0.1:7878> `, with transactions `kv 127.0.0.1:7878 [txn 3 depth 2 SNAPSHOT, 2 open]> `,
//! and `[LOST]` when one was lost.

use kv_client::OpenTransaction;

use crate::shell::Shell;

/// The prompt as it is now, without colours.
pub(super) fn of(shell: &Shell) -> String {
    let state = match shell.is_lost() {
        true => " [LOST]".to_owned(),
        false => transactions(shell.open()),
    };
    format!("kv {}{state}> ", shell.client().address())
}

/// What is open: the current one, how deep it is nested, and how many there are.
fn transactions(open: &[OpenTransaction]) -> String {
    // A command without an id runs in the one that was begun last.
    let Some(current) = open.iter().max_by_key(|of| of.id) else { return String::new() };
    let mut depth = 1;
    let mut parent = current.parent;
    while let Some(id) = parent.filter(|_| depth < open.len()) {
        depth += 1;
        parent = open.iter().find(|of| of.id == id).and_then(|of| of.parent);
    }
    let mut text = format!(" [txn {}", current.id);
    if depth > 1 {
        text += &format!(" depth {depth}");
    }
    text += &format!(" {}", current.isolation.as_str());
    if current.is_aborted {
        text += " ABORTED";
    }
    if open.len() > depth {
        text += &format!(", {} open", open.len());
    }
    text + "]"
}
