//! Appending the words of a request; each begins with the space that separates it.

use crate::word::write_word;

pub(super) fn word(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b' ');
    write_word(out, bytes);
}

/// One or more words that need no quotes.
pub(super) fn keyword(out: &mut Vec<u8>, words: &str) {
    out.push(b' ');
    out.extend_from_slice(words.as_bytes());
}

pub(super) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    keyword(out, itoa::Buffer::new().format(number));
}

/// The transaction, where one is named.
pub(super) fn id(out: &mut Vec<u8>, txn: Option<u64>) {
    if let Some(txn) = txn {
        number(out, txn);
    }
}

/// A keyword and its number, where there is one.
pub(super) fn option(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        keyword(out, name);
        number(out, value);
    }
}
