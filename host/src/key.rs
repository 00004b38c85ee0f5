//! The key of a store, and the previous key.

use std::fmt;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// The length of a key, in bytes.
const LENGTH: usize = 32;

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that encrypts payloads and subjects: 32 random bytes, in base64. `Debug` does not
/// show it, and its memory is zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<String>);

impl Key {
    /// Takes 32 bytes in standard base64, with or without padding, as
    /// `openssl rand -base64 32` makes them; `None` for any other text.
    pub fn from_base64(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(BASE64.decode(text).ok()?);
        let digits = text.trim_end_matches('=');
        (decoded.len() == LENGTH).then(|| Self(Zeroizing::new(digits.to_owned())))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// How sessions are encrypted that the current key has not encrypted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviousKey {
    /// Not at all: unencrypted sessions are accepted.
    None,
    /// With this key.
    Key(Key),
}

impl Serialize for PreviousKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Key(key) => key.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_is_32_bytes_of_base64_with_or_without_padding() {
        let key = Key::from_base64(TEXT).unwrap();
        assert_eq!(Key::from_base64(TEXT.trim_end_matches('=')), Some(key));
        let bad_end = TEXT.replace("8=", "9=");
        for bad in [
            "",
            "none",
            "AAEC",
            &TEXT[1..],
            &bad_end,
            &format!("{TEXT}="),
        ] {
            assert_eq!(Key::from_base64(bad), None, "{bad:?}");
        }
        assert_eq!(Key::from_base64(&"é".repeat(22)), None);
    }

    #[test]
    fn debug_does_not_show_a_key() {
        let key = PreviousKey::Key(Key::from_base64(TEXT).unwrap());
        assert_eq!(format!("{key:?}"), "Key(Key(secret))");
    }
}
