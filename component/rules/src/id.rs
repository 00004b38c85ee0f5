//! Session ids: how they are made, and the hash under which they are kept.

use crate::error::Error;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// The longest id that a caller may bring, in bytes.
pub const LONGEST_ID: usize = 255;

/// Sets the hashes of this store apart from every other use of SHA-256.
const PREFIX: &[u8] = b"session-id:";

/// What stands in the database for an id: SHA-256 over a fixed prefix and the
/// id. Neither the database nor a listing can be turned back into an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The key of `id`; none for an id that cannot exist, because it is empty
    /// or over [`LONGEST_ID`].
    pub fn of(id: &str) -> Option<Key> {
        if id.is_empty() || id.len() > LONGEST_ID {
            return None;
        }
        let hash = Sha256::new().chain_update(PREFIX).chain_update(id);
        Some(Key(hash.finalize().into()))
    }

    /// The key that a listing calls `handle`; none when no session can have
    /// that name.
    pub fn from_handle(handle: &str) -> Option<Key> {
        let mut hash = [0; 32];
        hex::decode_to_slice(handle, &mut hash).ok()?;
        let key = Key(hash);
        // Handles are lower-case: one session has one name.
        (key.handle() == handle).then_some(key)
    }

    /// The name of the session in listings: lower-case hexadecimal.
    pub fn handle(&self) -> String {
        hex::encode(self.0)
    }
}

/// A new id of 256 random bits in base64url, 43 characters, and its key.
pub fn fresh() -> Result<(String, Key), Error> {
    let id = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let key = Key::of(&id).expect("43 characters are a possible id");
    Ok((id, key))
}

/// Bytes of the host's randomness.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut random = [0; N];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Other(format!("the host gave no random bytes: {error}")))?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_id_is_43_characters_of_base64url_and_never_the_same() {
        let (first, _) = fresh().unwrap();
        let (second, _) = fresh().unwrap();
        assert_eq!(first.len(), 43);
        assert!(
            first
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_ne!(first, second);
    }

    #[test]
    fn an_id_has_1_to_255_bytes() {
        assert!(Key::of("").is_none());
        assert!(Key::of("x").is_some());
        assert!(Key::of(&"x".repeat(255)).is_some());
        assert!(Key::of(&"x".repeat(256)).is_none());
    }

    #[test]
    fn a_key_is_sha_256_over_the_prefix_and_the_id() {
        let hash = Sha256::digest(b"session-id:abc");
        assert_eq!(Key::of("abc").unwrap().handle(), hex::encode(hash));
    }

    #[test]
    fn a_handle_is_lower_case_hexadecimal_of_64_characters() {
        let key = Key::of("abc").unwrap();
        assert!(Key::from_handle(&key.handle()) == Some(key));
        assert!(Key::from_handle(&key.handle().to_uppercase()).is_none());
        assert!(Key::from_handle(&key.handle()[..62]).is_none());
        assert!(Key::from_handle("").is_none());
        assert!(Key::from_handle("é").is_none());
    }
}
