//! The key of a store: 32 bytes, given in base64, that no message contains.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::Zeroizing;

/// The length of a key, in bytes.
pub const KEY_LENGTH: usize = 32;

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret key, overwritten in memory when it is dropped. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; KEY_LENGTH]>);

impl Key {
    /// Reads 32 bytes in base64; `None` for any other text.
    pub fn from_base64(text: &str) -> Option<Key> {
        let decoded = Zeroizing::new(BASE64.decode(text).ok()?);
        let bytes = decoded.as_slice().try_into().ok()?;
        Some(Key(Zeroizing::new(bytes)))
    }

    /// The bytes of the key.
    pub fn bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// The option `previousKey`: what sealed the rows that are not yet sealed with the
/// present key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousKey {
    /// `"none"`: those rows are not sealed, and are accepted.
    None,
    /// Another key, which those rows are sealed with.
    Key(Key),
}

impl PreviousKey {
    /// The key, if there was one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            PreviousKey::None => None,
            PreviousKey::Key(key) => Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_is_32_bytes_of_base64_with_or_without_padding() {
        let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
        for text in [TEXT, TEXT.trim_end_matches('=')] {
            assert_eq!(Key::from_base64(text).unwrap().bytes(), &bytes);
        }
        for bad in ["", "none", "AAEC", &TEXT[1..], &format!("{TEXT}\n"), "é"] {
            assert_eq!(Key::from_base64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_show_a_key() {
        let key = Key::from_base64(TEXT).unwrap();
        let shown = format!("{:?}", PreviousKey::Key(key));
        assert_eq!(shown, "Key(Key(secret))");
    }
}
