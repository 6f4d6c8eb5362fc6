//! The search for a segment of a glob: for where the first text ends that it takes.
//!
//! Characters that stand for themselves are searched for as bytes. A segment with other tokens is
//! searched for with a bit for each of its tokens, which says whether the characters so far end
//! with what the tokens up to this one take. With the next character all bits move on by one token,
//! and those remain whose token takes it. So a character costs one step for every 64 tokens,
//! whatever they and the text are.

use memchr::memmem::Finder;

use super::Token;
use super::unit::{Unit, first};
use crate::limits::PATTERN_BYTES_MAX;

/// So many words have a bit for each token.
const WORDS_MAX: usize = PATTERN_BYTES_MAX.div_ceil(64);

const _: () = assert!(WORDS_MAX.is_power_of_two());
// A class begins at each token's first character or behind its last one.
const _: () = assert!(2 * PATTERN_BYTES_MAX < u16::MAX as usize);

/// What a segment is searched for with.
#[derive(Debug)]
pub(super) enum Search {
    Literal(Box<Finder<'static>>),
    Tokens(Box<Tokens>),
}

/// A segment with tokens that are not all characters.
#[derive(Debug)]
pub(super) struct Tokens {
    count: usize,
    /// Characters are of one class if every token takes all of them or none. These are the first
    /// ones of all classes but the class 0.
    borders: Box<[Unit]>,
    /// The class of each character that is a single byte, or belongs to none.
    of_bytes: [u16; 256],
    /// The tokens that take a class, a bit each; one class after the other.
    taking: Box<[u64]>,
    /// The words of a class. Tokens are dealt out to them in turn, so that a bit that moves on to
    /// the next token moves to the next word, and no word has to be shifted but one.
    words: usize,
}

impl Search {
    /// For a segment that is not empty.
    pub(super) fn new(segment: &[Token]) -> Search {
        let mut literal = Vec::new();
        for token in segment {
            match token {
                Token::One(unit) if unit.is_character() => unit.write(&mut literal),
                // Bytes that belong to no character may still look like a part of one.
                _ => return Search::Tokens(Box::new(Tokens::new(segment))),
            }
        }
        Search::Literal(Box::new(Finder::new(&literal).into_owned()))
    }

    pub(super) fn slowness(&self) -> usize {
        match self {
            Search::Literal(_) => 1,
            Search::Tokens(tokens) => 2 + tokens.words / 8,
        }
    }

    /// Where the first one ends.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Search::Literal(finder) => Some(finder.find(text)? + finder.needle().len()),
            Search::Tokens(tokens) => match tokens.words {
                1 => tokens.find::<1>(text),
                2 => tokens.find::<2>(text),
                4 => tokens.find::<4>(text),
                8 => tokens.find::<8>(text),
                _ => tokens.find::<WORDS_MAX>(text),
            },
        }
    }
}

impl Tokens {
    fn new(segment: &[Token]) -> Tokens {
        let mut borders: Vec<Unit> = Vec::new();
        let mut note = |first: Unit, last: Unit| borders.extend([first, Unit(last.0 + 1)]);
        for token in segment {
            match token {
                Token::One(unit) => note(*unit, *unit),
                Token::Any => {}
                Token::Class { ranges, .. } => {
                    ranges.iter().for_each(|(first, last)| note(*first, *last));
                }
            }
        }
        borders.sort_unstable();
        borders.dedup();
        let words = segment.len().div_ceil(64).next_power_of_two();
        let mut taking = vec![0; words * (borders.len() + 1)];
        let firsts = std::iter::once(Unit(0)).chain(borders.iter().copied());
        for (first, taking) in firsts.zip(taking.chunks_exact_mut(words)) {
            for (at, _) in segment.iter().enumerate().filter(|(_, token)| token.takes(first)) {
                taking[at % words] |= 1 << (at / words);
            }
        }
        let mut of_bytes = [0; 256];
        for (byte, class) in (0..=u8::MAX).zip(&mut of_bytes) {
            *class = class_of(&borders, Unit::of_byte(byte));
        }
        let (borders, taking) = (borders.into(), taking.into());
        Tokens { count: segment.len(), borders, of_bytes, taking, words }
    }

    fn find<const WORDS: usize>(&self, text: &[u8]) -> Option<usize> {
        let (last_word, last_bit) = ((self.count - 1) % WORDS, (self.count - 1) / WORDS);
        let (taking, _) = self.taking.as_chunks::<WORDS>();
        let (mut met, mut at) = ([0_u64; WORDS], 0);
        while let Some((unit, bytes)) = first(&text[at..]) {
            at += bytes;
            let class = match bytes {
                1 => self.of_bytes[usize::from(text[at - 1])],
                _ => class_of(&self.borders, unit),
            };
            let taking = &taking[usize::from(class)];
            // Any character may be the first of the text that is searched for.
            let mut moved = met[WORDS - 1] << 1 | 1;
            for (met, taking) in met.iter_mut().zip(taking) {
                moved = std::mem::replace(met, moved & taking);
            }
            if met[last_word] >> last_bit & 1 == 1 {
                return Some(at);
            }
        }
        None
    }
}

fn class_of(borders: &[Unit], unit: Unit) -> u16 {
    let class = borders.partition_point(|border| *border <= unit);
    u16::try_from(class).unwrap_or(u16::MAX)
}
