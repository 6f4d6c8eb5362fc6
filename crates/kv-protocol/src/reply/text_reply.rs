//! Reading one line of the text format back, for clients and tests.
//!
//! A line says by itself what it is, except that the rows of a list are only words: what they
//! mean depends on what was asked, and [`Row::from_words`](super::Row::from_words) reads them.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::units::{parse_i64, parse_u64};
use crate::word::{Shown, Word, WordError, Words};

/// One line of a server's, in the text format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextReply {
    /// `OK`, with a number after BEGIN and COMMITALL.
    Ok(Option<u64>),
    /// A quoted value.
    Value(Vec<u8>),
    /// `NIL`.
    Nil,
    /// A number.
    Number(i64),
    /// `PONG`.
    Pong,
    /// `ERR`: the command was refused, or a list failed midway.
    Error {
        /// Why.
        code: ErrorCode,
        /// The text, as it stands on the wire.
        text: String,
    },
    /// `END`: a list is complete, and had so many rows.
    End(u64),
    /// A row of a list.
    Row(Vec<Word<'static>>),
}

/// Why a line is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextReplyError {
    /// The line cannot be split into words.
    Words(WordError),
    /// The line is empty.
    Empty,
    /// An `ERR` with a code that this version does not know, or without one; the line is shown.
    Code(String),
    /// `OK` or `END` with something other than one number; the line is shown.
    Count(String),
}

impl fmt::Display for TextReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextReplyError::Words(error) => write!(f, "the reply is not made of words: {error}"),
            TextReplyError::Empty => f.write_str("expected a reply, got an empty line"),
            TextReplyError::Code(line) => write!(f, "expected ERR and a known code, got {line}"),
            TextReplyError::Count(line) => write!(f, "expected a number at the end, got {line}"),
        }
    }
}

impl std::error::Error for TextReplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TextReplyError::Words(error) => Some(error),
            _ => None,
        }
    }
}

impl TextReply {
    /// Reads one line, given without its LF.
    pub fn parse(line: &[u8]) -> Result<Self, TextReplyError> {
        if let Some(rest) = line.strip_prefix(b"ERR ") {
            return parse_error(line, rest);
        }
        let words = Words::new(line)
            .map(|word| word.map(Word::into_owned))
            .collect::<Result<Vec<_>, _>>()
            .map_err(TextReplyError::Words)?;
        let count = |word: &Word<'_>| {
            parse_u64(&word.bytes).ok_or_else(|| TextReplyError::Count(Shown(line).to_string()))
        };
        match &words[..] {
            [] => Err(TextReplyError::Empty),
            [word] if word.quoted => Ok(TextReply::Value(word.bytes.to_vec())),
            [word] => Ok(match (&*word.bytes, parse_i64(&word.bytes)) {
                (_, Some(number)) => TextReply::Number(number),
                (b"OK", _) => TextReply::Ok(None),
                (b"NIL", _) => TextReply::Nil,
                (b"PONG", _) => TextReply::Pong,
                (b"END", _) => return Err(TextReplyError::Count(Shown(line).to_string())),
                (b"ERR", _) => return Err(TextReplyError::Code(Shown(line).to_string())),
                _ => TextReply::Row(words),
            }),
            [verb, number] if is(verb, b"OK") => Ok(TextReply::Ok(Some(count(number)?))),
            [verb, number] if is(verb, b"END") => Ok(TextReply::End(count(number)?)),
            _ => Ok(TextReply::Row(words)),
        }
    }
}

fn is(word: &Word<'_>, keyword: &[u8]) -> bool {
    !word.quoted && *word.bytes == *keyword
}

/// Reads what follows `ERR`: a code and, for people, the rest of the line.
fn parse_error(line: &[u8], rest: &[u8]) -> Result<TextReply, TextReplyError> {
    let (word, text) = match rest.iter().position(|byte| *byte == b' ') {
        Some(space) => (&rest[..space], &rest[space + 1..]),
        None => (rest, &[][..]),
    };
    let code =
        ErrorCode::parse(word).ok_or_else(|| TextReplyError::Code(Shown(line).to_string()))?;
    Ok(TextReply::Error { code, text: String::from_utf8_lossy(text).into_owned() })
}
