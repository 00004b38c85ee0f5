//! Converts spans of time into the contract's whole milliseconds.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// The span in milliseconds, rounded up, so that only zero becomes zero. Saturates at
/// `u64::MAX`. Above 2^63 - 1 the contract shortens a `ttl` to that, and refuses an option.
pub(crate) fn milliseconds(span: Duration) -> u64 {
    let whole = span.as_nanos().div_ceil(1_000_000);
    whole.try_into().unwrap_or(u64::MAX)
}

/// For `serialize_with`.
pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    milliseconds(*span).serialize(serializer)
}

/// For `serialize_with`.
pub(crate) fn serialize_option<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    span.map(milliseconds).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_rounded_up_to_whole_milliseconds() {
        for (nanoseconds, expected) in [
            (0, 0),
            (1, 1),
            (999_999, 1),
            (1_000_000, 1),
            (1_000_001, 2),
            (2_000_000, 2),
        ] {
            let span = Duration::from_nanos(nanoseconds);
            assert_eq!(milliseconds(span), expected, "{span:?}");
        }
    }

    #[test]
    fn a_span_that_does_not_fit_becomes_the_largest_number() {
        for (span, expected) in [
            (Duration::from_millis(u64::MAX - 1), u64::MAX - 1),
            (Duration::from_millis(u64::MAX), u64::MAX),
            (
                Duration::from_millis(u64::MAX) + Duration::from_nanos(1),
                u64::MAX,
            ),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(milliseconds(span), expected, "{span:?}");
        }
    }
}
