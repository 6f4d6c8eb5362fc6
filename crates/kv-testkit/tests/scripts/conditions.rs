//! What SCAN asks of keys and values, as it would be explained: for scripts, whose patterns are
//! short and whose numbers are small.

use regex::bytes::Regex;

pub(crate) enum Condition {
    Equal(String),
    Glob(String),
    Regex(String),
    Range(String, String),
    Number(String, String),
}

impl Condition {
    /// What all that meets it begins with.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        let (text, wildcards) = match self {
            Self::Glob(glob) => (glob.as_str(), "*?[\\"),
            Self::Regex(regex) => (regex.strip_prefix('^').unwrap_or(""), "\\.+*?()|[]{}^$"),
            _ => ("", ""),
        };
        let literal = text.split(|c| wildcards.contains(c)).next();
        literal.unwrap_or_default().as_bytes().to_vec()
    }

    pub(crate) fn is_met_by(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Equal(wanted) => wanted.as_bytes() == bytes,
            Self::Glob(pattern) => fits(pattern.as_bytes(), bytes),
            Self::Regex(pattern) => Regex::new(pattern).unwrap().is_match(bytes),
            Self::Range(from, to) => from.as_bytes() <= bytes && bytes < to.as_bytes(),
            Self::Number(low, high) => {
                let (low, high) = (number(low.as_bytes()), number(high.as_bytes()));
                number(bytes).is_some_and(|number| low <= Some(number) && Some(number) <= high)
            }
        }
    }
}

/// The number that a text is. In scripts nothing else begins or ends as one does.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    let ends_well = text.last()?.is_ascii_digit();
    std::str::from_utf8(text).ok().filter(|_| ends_well)?.parse().ok()
}

fn fits(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
        (_, []) => false,
        ([b'?', rest @ ..], [_, text @ ..]) => fits(rest, text),
        ([b'[', b'^', rest @ ..], [first, text @ ..]) => {
            let end = rest.iter().position(|&byte| byte == b']').unwrap();
            !rest[..end].contains(first) && fits(&rest[end + 1..], text)
        }
        ([wanted, rest @ ..], [first, text @ ..]) => wanted == first && fits(rest, text),
    }
}
