//! Numbers as Redis reads and writes them.

use std::fmt::Write;

/// A 64-bit signed integer, read as strictly as Redis does: no blanks, no plus sign, no zero in
/// front, no minus zero.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_plain.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Digits behind the point that a sum is exact to, and that are written.
const PLACES: usize = 17;
const SCALE: i128 = 10_i128.pow(PLACES as u32);

/// The sum of two numbers as INCRBYFLOAT writes it, or what is wrong.
///
/// Redis adds long doubles, of 64 bits of precision on most machines, and writes 17 digits behind
/// the point without the zeros at the end. Here decimals are added exactly if they have no more
/// digits than that, and fit; otherwise doubles are.
///
/// # Errors
///
/// [`FloatFault`].
pub fn float_sum(one: &[u8], other: &[u8]) -> Result<String, FloatFault> {
    let (one_float, other_float) = (float(one)?, float(other)?);
    if let (Some(one), Some(other)) = (decimal(one), decimal(other))
        && let Some(sum) = one.checked_add(other)
    {
        return Ok(decimal_text(sum));
    }
    let sum = one_float + other_float;
    if !sum.is_finite() {
        return Err(FloatFault::NotFinite);
    }
    Ok(trimmed(format!("{sum:.PLACES$}")))
}

/// What keeps two numbers from being added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFault {
    /// One is none.
    NotANumber,
    /// The sum would be infinite, or no number.
    NotFinite,
}

fn float(text: &[u8]) -> Result<f64, FloatFault> {
    let text = std::str::from_utf8(text).map_err(|_| FloatFault::NotANumber)?;
    let number: f64 = text.parse().map_err(|_| FloatFault::NotANumber)?;
    if number.is_nan() { Err(FloatFault::NotANumber) } else { Ok(number) }
}

/// The number in units of the last place, if it is exact in them.
fn decimal(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: i128 = digits.parse().ok()?;
    // So many zeros follow until the last place; below 0, so many digits stand behind it.
    let zeros = (PLACES as i32).checked_add(exponent)?.checked_sub(fraction.len() as i32)?;
    let power = 10_i128.checked_pow(zeros.unsigned_abs())?;
    let scaled = match zeros {
        0.. => digits.checked_mul(power)?,
        _ if digits % power == 0 => digits / power,
        _ => return None,
    };
    scaled.checked_mul(sign)
}

fn decimal_text(number: i128) -> String {
    let mut text = String::new();
    let scale = SCALE.unsigned_abs();
    let (whole, fraction) = (number.unsigned_abs() / scale, number.unsigned_abs() % scale);
    let sign = if number < 0 { "-" } else { "" };
    // A String takes all that is written.
    let _ = write!(text, "{sign}{whole}.{fraction:0PLACES$}");
    trimmed(text)
}

fn trimmed(text: String) -> String {
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        let wrong = [&b""[..], b"-", b"-0", b"00", b"01", b"+1", b" 1", b"1 ", b"1.0", b"0x1"];
        for text in wrong.into_iter().chain([&b"9223372036854775808"[..], b"\xff"]) {
            assert_eq!(integer(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn decimals_are_added_exactly() {
        for (one, other, sum) in [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("3.0", "-3", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("1", ".5", "1.5"),
            ("1.", "0", "1"),
            ("123456789012345678", "1", "123456789012345679"),
            ("0.00000000000000001", "0", "0.00000000000000001"),
            ("1e3", "0.1", "1000.1"),
            ("12300e-4", "1E0", "2.23"),
            (
                "-1701411834604692317316.87303715884105727",
                "-0.00000000000000001",
                "-1701411834604692317316.87303715884105728",
            ),
            ("1e30", "1", "1000000000000000019884624838656"),
        ] {
            assert_eq!(float_sum(one.as_bytes(), other.as_bytes()), Ok(sum.to_owned()));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "abc", " 1", "1 ", "nan", "1,5"] {
            assert_eq!(float_sum(text.as_bytes(), b"1"), Err(FloatFault::NotANumber), "{text}");
        }
        assert_eq!(float_sum(b"1.7e308", b"1.7e308"), Err(FloatFault::NotFinite));
        assert_eq!(float_sum(b"inf", b"1"), Err(FloatFault::NotFinite));
    }
}
