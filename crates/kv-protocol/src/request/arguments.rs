//! The words after a verb, taken one by one, with errors that name the command, what was expected
//! and how the command is used.
//!
//! A framing whose words come already split needs another source of words here, and no more.
//! What every command shares is here: keys, ids in their place, options in any order and each
//! once. What is particular to one command is in that command's file.

use std::borrow::Cow;

use crate::command::CommandSpec;
use crate::error_code::ErrorCode;
use crate::reply::ErrorReply;
use crate::units::{parse_i64, parse_u64};
use crate::word::{Shown, Words};

/// The words of one request that are yet to be read.
pub(crate) struct Arguments<'a> {
    spec: &'static CommandSpec,
    words: Words<'a>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(spec: &'static CommandSpec, words: Words<'a>) -> Self {
        Self { spec, words }
    }

    /// The next word, if there is one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Cow<'a, [u8]>>, ErrorReply> {
        if self.words.is_at_end() {
            return Ok(None);
        }
        match self.words.next_borrowed() {
            Some(word) => Ok(Some(Cow::Borrowed(word))),
            None => self.next_unescaped(),
        }
    }

    /// The rest of [`Arguments::next`], apart so that the rest of that is small enough to be
    /// inlined.
    #[cold]
    fn next_unescaped(&mut self) -> Result<Option<Cow<'a, [u8]>>, ErrorReply> {
        Ok(self.words.next_word()?.map(|word| word.bytes))
    }

    /// The next word, which must be there; `what` names it: `a value`.
    #[inline]
    pub(crate) fn need(&mut self, what: &str) -> Result<Cow<'a, [u8]>, ErrorReply> {
        match self.words.next_borrowed() {
            Some(word) => Ok(Cow::Borrowed(word)),
            None => self.need_unescaped(what),
        }
    }

    #[cold]
    fn need_unescaped(&mut self, what: &str) -> Result<Cow<'a, [u8]>, ErrorReply> {
        self.next_unescaped()?.ok_or_else(|| self.error(format_args!("needs {what}")))
    }

    /// The key that the command is about.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Cow<'a, [u8]>, ErrorReply> {
        let key = self.need("a key")?;
        if key.is_empty() {
            return Err(self.error(format_args!("needs a key of at least one byte, got \"\"")));
        }
        Ok(key)
    }

    /// The id of a transaction, if the next word is one. Any other word is left for the options.
    #[inline]
    pub(crate) fn id(&mut self) -> Result<Option<u64>, ErrorReply> {
        if self.words.is_at_end() { Ok(None) } else { self.id_ahead() }
    }

    fn id_ahead(&mut self) -> Result<Option<u64>, ErrorReply> {
        let mut ahead = self.words.clone();
        let Some(word) = ahead.next_word()? else { return Ok(None) };
        if !is_number(&word.bytes) {
            return Ok(None);
        }
        self.words = ahead;
        self.read_u64("a transaction's id", &word.bytes).map(Some)
    }

    /// The number that must come next; `what` names it: `a revision after AT`.
    pub(crate) fn number(&mut self, what: &str) -> Result<u64, ErrorReply> {
        let word = self.need(what)?;
        self.read_u64(what, &word)
    }

    /// The number, negative or not, that must come next.
    pub(crate) fn signed_number(&mut self, what: &str) -> Result<i64, ErrorReply> {
        let word = self.need(what)?;
        parse_i64(&word).ok_or_else(|| {
            self.error(format_args!(
                "needs {what}, a whole number of 64 bits such as 5 or -5, got {}",
                Shown(&word)
            ))
        })
    }

    fn read_u64(&self, what: &str, word: &[u8]) -> Result<u64, ErrorReply> {
        parse_u64(word).ok_or_else(|| {
            self.error(format_args!(
                "needs {what}, a whole number from 0 to {}, got {}",
                u64::MAX,
                Shown(word)
            ))
        })
    }

    /// Fills the place of an option that may be given once.
    pub(crate) fn set<T>(
        &self,
        place: &mut Option<T>,
        value: T,
        option: &str,
    ) -> Result<(), ErrorReply> {
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.error(format_args!("takes {option} only once"))),
        }
    }

    /// The error for a word that no option begins with.
    #[cold]
    pub(crate) fn unexpected(&self, word: &[u8]) -> ErrorReply {
        let shown = Shown(word);
        if is_number(word) && self.spec.syntax.contains("[id") {
            let advice = "as a transaction's id it stands once, where the usage shows it";
            return self.error(format_args!("did not expect the number {shown}; {advice}"));
        }
        self.error(format_args!("did not expect {shown}"))
    }

    /// Checks that every word was read.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), ErrorReply> {
        if self.words.is_at_end() { Ok(()) } else { self.surplus() }
    }

    #[cold]
    fn surplus(&mut self) -> Result<(), ErrorReply> {
        self.next()?.map_or(Ok(()), |word| Err(self.unexpected(&word)))
    }

    /// An ARGUMENT error: the command's name, what is wrong, and the usage.
    #[cold]
    pub(crate) fn error(&self, what: std::fmt::Arguments<'_>) -> ErrorReply {
        let CommandSpec { name, syntax, .. } = self.spec;
        ErrorReply::new(ErrorCode::Argument, format!("{name} {what}: {syntax}"))
    }
}

/// Whether a word is a keyword, in either case.
#[inline]
pub(crate) fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

fn is_number(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}
