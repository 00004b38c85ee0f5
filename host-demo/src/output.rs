//! Prints results on standard output, as JSON or as text.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};
use std::time::{Duration, UNIX_EPOCH};

use indicatif::HumanCount;
use serde::Serialize;
use wasi_sessions::Timestamp;

/// Standard output. It is buffered; see [`flush`](Output::flush).
pub struct Output {
    /// Whether results are printed as JSON.
    pub json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    /// Standard output, for JSON or for text.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            out: BufWriter::new(io::stdout()),
        }
    }

    /// Prints a result on a line: `json` if JSON was asked for, otherwise `human`.
    pub fn result(&mut self, json: impl Serialize, human: impl Display) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out, &json)?;
            self.line("")
        } else {
            self.line(human)
        }
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Prints bytes unchanged.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A number and what it counts: `1 session`, `10,000 sessions`.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", HumanCount(number))
}

/// A span of time for JSON: milliseconds, with a fraction.
pub fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Formats a span of milliseconds for people, with a unit.
pub fn span(milliseconds: f64) -> String {
    format!("{:.1?}", Duration::from_secs_f64(milliseconds / 1e3))
}

/// A moment in ISO 8601 format, in UTC.
pub fn time(moment: Timestamp) -> String {
    /// The last millisecond of the year 9999.
    const LAST: Timestamp = 253_402_300_799_999;
    if moment > LAST {
        return "after the year 9999".to_owned();
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(moment)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc_to_the_millisecond() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_767_225_600_001), "2026-01-01T00:00:00.001Z");
        assert_eq!(time(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(253_402_300_800_000), "after the year 9999");
        assert_eq!(time(u64::MAX), "after the year 9999");
    }

    #[test]
    fn a_span_is_in_milliseconds_in_json_and_has_a_unit_in_text() {
        assert_eq!(milliseconds(Duration::from_nanos(250)), 0.00025);
        assert_eq!(milliseconds(Duration::from_secs(2)), 2000.0);
        assert_eq!(span(0.00025), "250.0ns");
        assert_eq!(span(1.5), "1.5ms");
        assert_eq!(span(2000.0), "2.0s");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(count(0, "row"), "0 rows");
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(12_345, "row"), "12,345 rows");
    }
}
