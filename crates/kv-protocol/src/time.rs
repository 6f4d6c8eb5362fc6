//! Points in time on the wire: Unix milliseconds as RFC 3339 in UTC, `2026-11-20T10:00:00.123Z`.
//!
//! Only this one form is written and read; there are no zones, no leap seconds and no clock here.
//! The dates follow Howard Hinnant's `civil_from_days` and `days_from_civil`
//! (<https://howardhinnant.github.io/date_algorithms.html>): a year is taken to begin in March,
//! so that the leap day is its last, and 400 years, after which the calendar repeats, are an era.

/// The last point in time that four digits of a year can show, in Unix milliseconds:
/// `9999-12-31T23:59:59.999Z`. A later one is shown as this.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 86_400_000;
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01, where the first era begins, to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// The length of every text written here, in bytes.
const TEXT_BYTES: usize = "2026-11-20T10:00:00.123Z".len();

/// Appends a point in time.
pub fn write_time(out: &mut Vec<u8>, unix_ms: u64) {
    let unix_ms = unix_ms.min(TIME_MS_MAX);
    let (year, month, day) = civil_from_days(unix_ms / DAY_MS);
    let ms = unix_ms % DAY_MS;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, ms / 3_600_000),
        (14, 2, ms / 60_000 % 60),
        (17, 2, ms / 1000 % 60),
        (20, 3, ms % 1000),
    ];
    for (start, digits, number) in fields {
        let mut rest = number;
        for place in text[start..start + digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    out.extend_from_slice(&text);
}

/// Reads what [`write_time`] writes; `None` for every other text, impossible dates included.
pub fn parse_time(text: &[u8]) -> Option<u64> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let number =
        |start: usize, digits: usize| crate::units::parse_u64(&text[start..start + digits]);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let is_on_clock = hour < 24 && minute < 60 && second < 60;
    if year < 1970 || !(1..=12).contains(&month) || day == 0 || !is_on_clock {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let unix_ms =
        days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1000 + number(20, 3)?;
    // Writing it again checks everything else: the punctuation, and that the month has that day.
    let mut again = Vec::with_capacity(TEXT_BYTES);
    write_time(&mut again, unix_ms);
    (again == text).then_some(unix_ms)
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil_from_days(unix_days: u64) -> (u64, u64, u64) {
    let days = unix_days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse, for dates from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(unix_ms: u64) -> String {
        let mut out = Vec::new();
        write_time(&mut out, unix_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_points_in_time() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
            (1_795_168_800_123, "2026-11-20T10:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text(unix_ms), expected);
            assert_eq!(parse_time(expected.as_bytes()), Some(unix_ms.min(TIME_MS_MAX)));
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for unix_days in 0..200_000 {
            assert_eq!(civil_from_days(unix_days), expected);
            assert_eq!(days_from_civil(expected.0, expected.1, expected.2), unix_days);
            let (year, month, day) = expected;
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = [31, 28 + u64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            expected = match (day < month_days[month as usize - 1], month < 12) {
                (true, _) => (year, month, day + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
        }
    }

    #[test]
    fn other_texts_are_no_points_in_time() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T10:00:00Z",
            "2026-11-20 10:00:00.123Z",
            "2026-11-20T10:00:00.123z",
            "2026-11-20T10:00:00.1234",
            "2026-02-29T10:00:00.123Z",
            "2026-13-01T10:00:00.123Z",
            "2026-00-01T10:00:00.123Z",
            "2026-01-00T10:00:00.123Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T10:60:00.000Z",
            "2026-01-01T10:00:60.000Z",
            "1969-12-31T23:59:59.999Z",
            "+026-11-20T10:00:00.123Z",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_is_the_inverse_of_writing(unix_ms in 0..=TIME_MS_MAX) {
            prop_assert_eq!(parse_time(text(unix_ms).as_bytes()), Some(unix_ms));
        }

        #[test]
        fn hostile_texts_never_panic(text in prop::collection::vec(any::<u8>(), 24)) {
            let _ = parse_time(&text);
        }
    }
}
