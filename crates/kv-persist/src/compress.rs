//! Compression of what goes to disk: values, log batches, chunks of the JSON snapshot.
//!
//! Each compressed piece stands alone and says how long it was, and a number beside it says how it
//! was compressed, so a file may hold pieces of every kind. What does not become shorter stays as
//! it is. Reading trusts nothing: whatever the bytes claim, no more memory is taken than the caller
//! allows.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use zstd::bulk::{Compressor, Decompressor};

/// Below this, in bytes, compression saves less than it costs.
const COMPRESS_BYTES_MIN: usize = 64;

/// zstd's fastest ordinary level, because commits wait for it; LZ4 is faster still.
const ZSTD_LEVEL: i32 = 1;

/// LZ4 codes 255 bytes in one at best, so whoever claims more lies.
const LZ4_RATIO_MAX: usize = 255;

/// zstd codes a block of 128 KiB in 4 bytes at best.
const ZSTD_RATIO_MAX: usize = 128 * 1024 / 4;

/// How long LZ4's pieces were, in 4 bytes before them. zstd writes it itself.
const LZ4_HEADER_BYTES: usize = 4;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: fast.
    Lz4,
    /// zstd: strong.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    /// The number that stands for it on disk.
    pub fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        }
    }

    /// What a number on disk stands for.
    pub fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.into_iter().find(|compression| compression.code() == code)
    }

    /// Compresses; none if it is better left as it is, because it is short already or would not
    /// become shorter.
    pub fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < COMPRESS_BYTES_MIN {
            return None;
        }
        let compressed = match self {
            Compression::None => return None,
            Compression::Lz4 => lz4(bytes)?,
            Compression::Zstd => zstd(bytes)?,
        };
        (compressed.len() < bytes.len()).then_some(compressed)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Compression, UnknownCompression> {
        let named =
            Compression::ALL.into_iter().find(|compression| compression.to_string() == name);
        named.ok_or(UnknownCompression)
    }
}

/// There is no compression of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCompression;

impl fmt::Display for UnknownCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("compression is none, lz4 or zstd")
    }
}

impl std::error::Error for UnknownCompression {}

/// Bytes that nothing of ours compressed, or that are longer than they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadCompression;

impl fmt::Display for BadCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be decompressed")
    }
}

impl std::error::Error for BadCompression {}

/// Decompresses what [`Compression::compress`] answered, whose [`Compression::code`] is `code`;
/// code 0 is a plain copy.
///
/// # Errors
///
/// [`BadCompression`] if it is damaged, its code is unknown, or it holds more than `bytes_max`
/// bytes; no more than that is ever allocated.
pub fn decompress(code: u8, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, BadCompression> {
    let bytes = match Compression::from_code(code).ok_or(BadCompression)? {
        Compression::None => (bytes.len() <= bytes_max).then(|| bytes.to_vec()),
        Compression::Lz4 => from_lz4(bytes, bytes_max),
        Compression::Zstd => from_zstd(bytes, bytes_max),
    };
    bytes.ok_or(BadCompression)
}

fn lz4(bytes: &[u8]) -> Option<Vec<u8>> {
    u32::try_from(bytes.len()).ok()?;
    Some(lz4_flex::block::compress_prepend_size(bytes))
}

fn from_lz4(bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (header, block) = bytes.split_first_chunk::<LZ4_HEADER_BYTES>()?;
    let length = u32::from_le_bytes(*header) as usize;
    if length > bytes_max || length / LZ4_RATIO_MAX > block.len() {
        return None;
    }
    let mut plain = vec![0; length];
    let written = lz4_flex::block::decompress_into(block, &mut plain).ok()?;
    (written == length).then_some(plain)
}

// zstd's tables take a megabyte, and making them more time than compressing a small value: each
// thread keeps its own.
thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn zstd(bytes: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        if compressor.is_none() {
            *compressor = Some(Compressor::new(ZSTD_LEVEL).ok()?);
        }
        // What does not fit into one byte less is not shorter.
        let mut compressed = Vec::with_capacity(bytes.len() - 1);
        compressor.as_mut()?.compress_to_buffer(bytes, &mut compressed).ok()?;
        Some(compressed)
    })
}

fn from_zstd(bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    // Exactly one frame, which says how long its content is: as ours do.
    let length = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max)?;
    if length / ZSTD_RATIO_MAX > bytes.len() {
        return None;
    }
    if zstd::zstd_safe::find_frame_compressed_size(bytes).ok()? != bytes.len() {
        return None;
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = Some(Decompressor::new().ok()?);
        }
        let mut plain = Vec::with_capacity(length);
        decompressor.as_mut()?.decompress_to_buffer(bytes, &mut plain).ok()?;
        (plain.len() == length).then_some(plain)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn text(bytes: usize) -> Vec<u8> {
        b"all work and no play ".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn text_becomes_shorter_and_comes_back() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            for bytes in [COMPRESS_BYTES_MIN, 1000, BYTES_MAX] {
                let plain = text(bytes);
                let compressed = compression.compress(&plain).unwrap();
                assert!(compressed.len() < plain.len(), "{compression} {bytes}");
                let code = compression.code();
                assert_eq!(decompress(code, &compressed, bytes), Ok(plain), "{compression}");
            }
        }
    }

    #[test]
    fn what_does_not_become_shorter_is_left_alone() {
        let noise = crate::crypt::random::<1000>();
        for compression in Compression::ALL {
            assert_eq!(compression.compress(&text(COMPRESS_BYTES_MIN - 1)), None);
            assert_eq!(compression.compress(&noise), None);
            assert_eq!(compression.compress(b""), None);
        }
        assert_eq!(Compression::None.compress(&text(1000)), None);
        assert_eq!(decompress(0, b"plain", 5), Ok(b"plain".to_vec()));
    }

    #[test]
    fn more_than_the_bound_is_refused() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let compressed = compression.compress(&text(1000)).unwrap();
            assert_eq!(decompress(compression.code(), &compressed, 999), Err(BadCompression));
        }
        assert_eq!(decompress(0, b"plain", 4), Err(BadCompression));
    }

    #[test]
    fn a_claim_of_more_than_there_can_be_is_refused_before_memory_is_taken() {
        let mut lz4 = u32::MAX.to_le_bytes().to_vec();
        lz4.extend_from_slice(&[0xff; 16]);
        // A frame header that claims 2^62 bytes, and a block that holds none.
        let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        zstd.extend_from_slice(&(1u64 << 62).to_le_bytes());
        zstd.extend_from_slice(&[1, 0, 0]);
        for (code, bytes) in [(1, lz4), (2, zstd)] {
            assert_eq!(decompress(code, &bytes, usize::MAX), Err(BadCompression), "code {code}");
            assert_eq!(decompress(code, &bytes, BYTES_MAX), Err(BadCompression), "code {code}");
        }
    }

    #[test]
    fn a_piece_that_was_cut_or_lengthened_is_refused() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let compressed = compression.compress(&text(1000)).unwrap();
            for length in 0..compressed.len() {
                let cut = decompress(compression.code(), &compressed[..length], BYTES_MAX);
                assert_eq!(cut, Err(BadCompression), "{compression} cut to {length}");
            }
            let twice = [&compressed[..], &compressed[..]].concat();
            assert_eq!(decompress(compression.code(), &twice, BYTES_MAX), Err(BadCompression));
        }
    }

    #[test]
    fn names_and_codes_go_both_ways() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(Compression::from_code(compression.code()), Some(compression));
        }
        assert_eq!("gzip".parse::<Compression>(), Err(UnknownCompression));
        assert_eq!(Compression::from_code(3), None);
        assert_eq!(decompress(3, b"", BYTES_MAX), Err(BadCompression));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decompressed_or_refused(code in 0u8..4, bytes: Vec<u8>) {
            if let Ok(plain) = decompress(code, &bytes, 500) {
                prop_assert!(plain.len() <= 500);
            }
        }

        #[test]
        fn changed_bytes_are_decompressed_or_refused(
            code in 1u8..3,
            bytes in 64usize..2000,
            place: prop::sample::Index,
            by in 1u8..,
        ) {
            let compression = Compression::from_code(code).unwrap();
            let mut compressed = compression.compress(&text(bytes)).unwrap();
            let place = place.index(compressed.len());
            compressed[place] ^= by;
            if let Ok(plain) = decompress(code, &compressed, 2000) {
                prop_assert!(plain.len() <= 2000);
            }
        }

        #[test]
        fn what_is_compressed_comes_back(seed: [u8; 32], repeats in 2usize..100) {
            let plain = seed.repeat(repeats);
            for compression in Compression::ALL {
                if let Some(compressed) = compression.compress(&plain) {
                    let back = decompress(compression.code(), &compressed, plain.len());
                    prop_assert_eq!(back.as_ref(), Ok(&plain));
                }
            }
        }
    }
}
