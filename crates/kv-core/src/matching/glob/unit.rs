//! The characters of a glob and its texts: those of UTF-8, and bytes that belong to none.
//!
//! Read from the end a text has the same characters as from the beginning: a byte that begins a
//! character is never within one.

/// A character, or 0x110000 and the byte that belongs to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit(pub(super) u32);

const STRAY_BYTES_FROM: u32 = char::MAX as u32 + 1;

impl Unit {
    /// A byte that is a character by itself, or belongs to none.
    pub(super) fn of_byte(byte: u8) -> Unit {
        Unit(u32::from(byte) + if byte.is_ascii() { 0 } else { STRAY_BYTES_FROM })
    }

    pub(super) fn ascii(self) -> Option<u8> {
        u8::try_from(self.0).ok().filter(u8::is_ascii)
    }

    /// Whether it is not a byte that belongs to none.
    pub(super) fn is_character(self) -> bool {
        self.0 < STRAY_BYTES_FROM
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        match char::from_u32(self.0) {
            Some(character) => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.extend(u8::try_from(self.0 - STRAY_BYTES_FROM)),
        }
    }
}

/// The first character and its bytes.
#[inline]
pub(super) fn first(text: &[u8]) -> Option<(Unit, usize)> {
    let &byte = text.first()?;
    let character = if byte.is_ascii() { None } else { character(text) };
    Some(character.unwrap_or((Unit::of_byte(byte), 1)))
}

/// The last character and its bytes.
pub(super) fn last(text: &[u8]) -> Option<(Unit, usize)> {
    let &byte = text.last()?;
    let mut ends =
        (2..=text.len().min(char::MAX.len_utf8())).map(|bytes| &text[text.len() - bytes..]);
    let whole = |end: &[u8]| character(end).filter(|(_, bytes)| *bytes == end.len());
    let character = if byte.is_ascii() { None } else { ends.find_map(whole) };
    Some(character.unwrap_or((Unit::of_byte(byte), 1)))
}

/// Takes the first character off a text.
pub(super) fn take(text: &mut &[u8]) -> Option<Unit> {
    let (unit, bytes) = first(text)?;
    *text = &text[bytes..];
    Some(unit)
}

/// A character of several bytes that a text begins with.
fn character(text: &[u8]) -> Option<(Unit, usize)> {
    let bytes = text.first()?.leading_ones() as usize;
    let head = text.get(..bytes).filter(|_| (2..=4).contains(&bytes))?;
    let character = std::str::from_utf8(head).ok()?.chars().next()?;
    Some((Unit(character.into()), bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_has_the_same_characters_from_both_ends(
            pieces in prop::collection::vec(
                prop_oneof![any::<char>().prop_map(|c| c.to_string().into_bytes()),
                    prop::collection::vec(any::<u8>(), 1..3)],
                0..8,
            ),
        ) {
            let text = pieces.concat();
            let (mut rest, mut forwards) = (&text[..], Vec::new());
            while let Some((unit, bytes)) = first(rest) {
                forwards.push((unit, bytes));
                rest = &rest[bytes..];
            }
            let (mut rest, mut backwards) = (&text[..], Vec::new());
            while let Some((unit, bytes)) = last(rest) {
                backwards.insert(0, (unit, bytes));
                rest = &rest[..rest.len() - bytes];
            }
            prop_assert_eq!(&forwards, &backwards);
            let mut written = Vec::new();
            forwards.iter().for_each(|(unit, _)| unit.write(&mut written));
            prop_assert_eq!(written, text.clone());
            let chunks = text.utf8_chunks();
            let units = chunks.map(|chunk| chunk.valid().chars().count() + chunk.invalid().len());
            prop_assert_eq!(forwards.len(), units.sum::<usize>());
        }
    }
}
