//! The options of `soak`: how long it lasts, and the seed of its choices.

use std::time::Duration;

use clap::Args;

/// How long the soak lasts, and which choices it makes.
#[derive(Debug, Args)]
pub struct Plan {
    /// How long it lasts; fractions are allowed
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes)]
    minutes: Duration,
    /// The seed of the random choices. The same seed makes the same choices, but threads
    /// meet in another order each time
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl Plan {
    /// A soak of a second.
    #[cfg(test)]
    pub fn short() -> Self {
        Self {
            minutes: Duration::from_secs(1),
            seed: 1,
        }
    }

    /// How long the soak lasts.
    pub fn duration(&self) -> Duration {
        self.minutes
    }
}

/// Parses a number of minutes.
fn minutes(text: &str) -> Result<Duration, String> {
    /// A year.
    const MOST: f64 = 525_600.0;
    let minutes = text.parse::<f64>().ok();
    let minutes = minutes.filter(|minutes| *minutes > 0.0 && *minutes <= MOST);
    minutes
        .map(|minutes| Duration::from_secs_f64(minutes * 60.0))
        .ok_or_else(|| format!("it must be a number above 0, up to {MOST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_have_a_fraction_and_are_more_than_none() {
        assert_eq!(minutes("0.05"), Ok(Duration::from_secs(3)));
        assert_eq!(minutes("30"), Ok(Duration::from_secs(1800)));
        for wrong in ["", "0", "-1", "NaN", "inf", "1e9", "1m"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
    }
}
