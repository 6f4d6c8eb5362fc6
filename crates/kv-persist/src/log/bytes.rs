//! Fields of fixed width, one after the other, in headers of fixed length.

/// Fills a header from its beginning.
pub(super) struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    pub(super) fn new(header: &'a mut [u8]) -> Writer<'a> {
        Writer(header)
    }

    /// Puts the next field.
    pub(super) fn put(self, field: &[u8]) -> Writer<'a> {
        let (place, rest) = self.0.split_at_mut(field.len());
        place.copy_from_slice(field);
        Writer(rest)
    }
}

/// Takes a header apart from its beginning.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(header: &'a [u8]) -> Reader<'a> {
        Reader(header)
    }

    /// Takes the next field. The header must be long enough.
    pub(super) fn take<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let (field, rest) = self.0.split_first_chunk().expect("a header has all its fields");
        self.0 = rest;
        *field
    }
}

/// The field of four bytes at an offset, which must be there.
pub(super) fn u32_at(header: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(Reader::new(&header[offset..]).take())
}
