//! Appending values in RESP. A value of a type that version 2 does not have is written as Redis
//! does it for such a client: a map as an array of names and values, a set as an array, null as a
//! bulk string of length -1.

use super::RespVersion;
use crate::reply::text::integer as digits;

/// `+OK`: text without CR and LF.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']));
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-ERR text`: the text begins with its code. What would end it early becomes a blank.
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// `:7`.
#[inline]
pub fn integer(out: &mut Vec<u8>, number: i64) {
    header(out, b':', number);
}

/// Bytes, with their length before them.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 24);
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// There is no such value.
#[inline]
pub fn null(out: &mut Vec<u8>, version: RespVersion) {
    out.extend_from_slice(match version {
        RespVersion::V2 => b"$-1\r\n",
        RespVersion::V3 => b"_\r\n",
    });
}

/// There is no such array.
pub fn null_array(out: &mut Vec<u8>, version: RespVersion) {
    out.extend_from_slice(match version {
        RespVersion::V2 => b"*-1\r\n",
        RespVersion::V3 => b"_\r\n",
    });
}

/// So many values follow.
pub fn array(out: &mut Vec<u8>, values: usize) {
    header(out, b'*', values);
}

/// So many names follow, each with a value behind it.
pub fn map(out: &mut Vec<u8>, version: RespVersion, pairs: usize) {
    match version {
        RespVersion::V2 => header(out, b'*', 2 * pairs),
        RespVersion::V3 => header(out, b'%', pairs),
    }
}

/// So many values follow, none of them twice.
pub fn set(out: &mut Vec<u8>, version: RespVersion, values: usize) {
    match version {
        RespVersion::V2 => header(out, b'*', values),
        RespVersion::V3 => header(out, b'~', values),
    }
}

/// Text of many lines, for people.
pub fn verbatim(out: &mut Vec<u8>, version: RespVersion, text: &str) {
    match version {
        RespVersion::V2 => bulk(out, text.as_bytes()),
        RespVersion::V3 => {
            header(out, b'=', text.len() + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A request of these words, as [`RespDecoder`](super::RespDecoder) reads it.
pub fn request<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    array(out, words.len());
    words.for_each(|word| bulk(out, word));
}

#[inline]
fn header(out: &mut Vec<u8>, mark: u8, number: impl itoa::Integer) {
    out.push(mark);
    digits(out, number);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_types() {
        let written = |write: &dyn Fn(&mut Vec<u8>, RespVersion)| {
            [RespVersion::V2, RespVersion::V3].map(|version| {
                let mut out = Vec::new();
                write(&mut out, version);
                String::from_utf8(out).unwrap()
            })
        };
        assert_eq!(written(&null), ["$-1\r\n", "_\r\n"]);
        assert_eq!(written(&null_array), ["*-1\r\n", "_\r\n"]);
        assert_eq!(written(&|out, version| map(out, version, 3)), ["*6\r\n", "%3\r\n"]);
        assert_eq!(written(&|out, version| set(out, version, 3)), ["*3\r\n", "~3\r\n"]);
        let text = ["$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"];
        assert_eq!(written(&|out, version| verbatim(out, version, "ab")), text);
    }

    #[test]
    fn an_error_is_one_line() {
        let mut out = Vec::new();
        error(&mut out, "ERR a\r\nb");
        assert_eq!(out, b"-ERR a  b\r\n");
    }
}
