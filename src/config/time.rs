//! Reads a moment that somebody wrote, ISO 8601 or milliseconds since 1970, and writes one.
//! What has no zone is taken as UTC; leap seconds, weeks and durations are not read.

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970, or `None` if it is no moment.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return (number >= 0).then_some(number);
    }
    let text = text.to_ascii_uppercase();
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text.as_str(), "00:00"),
    };
    let (time, offset_minutes) = split_zone(time)?;
    let ms = days(date)? * DAY_MS + time_of_day(time)? - offset_minutes * 60_000;
    (ms >= 0).then_some(ms)
}

/// A moment in milliseconds since 1970 as ISO 8601, in UTC.
pub fn utc(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY_MS) + DAYS_TO_1970, ms.rem_euclid(DAY_MS));
    // Years that begin in March, of eras of 400 of them.
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1000, rest % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Days from 1970 to a date, by the proleptic Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last.
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - DAYS_TO_1970)
}

/// `08:30`, `08:30:15` or `08:30:15.250` in milliseconds.
fn time_of_day(time: &str) -> Option<i64> {
    let (clock, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    let digits: String = fraction.chars().chain("00".chars()).take(3).collect();
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.is_empty() {
        return None;
    }
    let all_digits = fraction.chars().all(|c| c.is_ascii_digit());
    all_digits.then_some(())?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + digits.parse::<i64>().ok()?)
}

/// The time without its zone, and the zone in minutes east of Greenwich.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(at);
    let east = if zone.starts_with('+') { 1 } else { -1 };
    let zone = zone[1..].replace(':', "");
    let (hours, minutes) = match zone.len() {
        2 => (number(&zone, 2)?, 0),
        4 => (number(zone.get(..2)?, 2)?, number(zone.get(2..)?, 2)?),
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some((time, east * (hours * 60 + minutes)))
}

fn number(text: &str, length: usize) -> Option<i64> {
    let digits = text.len() == length && text.chars().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, utc};

    #[test]
    fn moments_are_read() {
        for (text, ms) in [
            ("1700000000000", 1_700_000_000_000),
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14t22:13:20.25z", 1_700_000_000_250),
            ("2023-11-15 00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14T14:13:20-0800", 1_700_000_000_000),
            ("2023-11-14T22:13", 1_699_999_980_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        for text in ["2024-02-29T23:59:59.999Z", "2000-12-31T12:00:00.001Z", "2026-03-01T00:00:00.000Z"] {
            assert_eq!(milliseconds(text).map(utc).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "-5",
            "yesterday",
            "2023-02-29",
            "2023-13-01",
            "2023-1-1",
            "2023-11-14T24:00",
            "2023-11-14T22",
            "2023-11-14T22:13:20+2",
            "2023-11-14T22:13:20.",
            "20231114T221320Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
