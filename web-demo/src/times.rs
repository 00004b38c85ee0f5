//! Points in time as readable text.

#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last millisecond that has a date of four digits.
const LATEST: u64 = 253_402_300_799_999;

/// Now, in milliseconds since the epoch.
pub fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// How long ago `then` was, in words; both are milliseconds since the epoch.
pub fn ago(now: u64, then: u64) -> String {
    let minutes = now.saturating_sub(then) / 60_000;
    match minutes {
        0 => "just now".to_owned(),
        1..60 => counted(minutes, "minute"),
        60..1440 => counted(minutes / 60, "hour"),
        _ => counted(minutes / 1440, "day"),
    }
}

/// The date and time for HTML's attribute `datetime`: in UTC, to the second.
pub fn date(milliseconds: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_millis(milliseconds.min(LATEST));
    humantime::format_rfc3339_seconds(moment).to_string()
}

fn counted(count: u64, unit: &str) -> String {
    match count {
        1 => format!("1 {unit} ago"),
        _ => format!("{count} {unit}s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;

    #[test]
    fn the_distance_is_in_the_largest_unit() {
        for (milliseconds, words) in [
            (0, "just now"),
            (59_999, "just now"),
            (60_000, "1 minute ago"),
            (3_599_999, "59 minutes ago"),
            (3_600_000, "1 hour ago"),
            (86_399_999, "23 hours ago"),
            (86_400_000, "1 day ago"),
            (864_000_000, "10 days ago"),
        ] {
            assert_eq!(ago(START + milliseconds, START), words);
        }
    }

    #[test]
    fn a_time_in_the_future_is_just_now() {
        assert_eq!(ago(START, START + 3_600_000), "just now");
    }

    #[test]
    fn a_date_has_the_format_of_html() {
        assert_eq!(date(START), "2023-11-14T22:13:20Z");
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
