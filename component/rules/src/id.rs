//! Session ids: how they are made, and the hash under which they are kept.

use crate::error::Error;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// The longest id that a caller may bring, in bytes.
pub const LONGEST_ID: usize = 255;

/// Distinguishes the hashes of this store from every other use of SHA-256.
const PREFIX: &[u8] = b"session-id:";

/// The hash that is stored in place of an id: SHA-256 over a fixed prefix and the
/// id. Neither the database nor a listing can be turned back into an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdHash(pub [u8; 32]);

impl IdHash {
    /// The hash of `id`; `None` for an id that no session can have, because it is
    /// empty or longer than [`LONGEST_ID`].
    pub fn of(id: &str) -> Option<IdHash> {
        if id.is_empty() || id.len() > LONGEST_ID {
            return None;
        }
        let hash = Sha256::new().chain_update(PREFIX).chain_update(id);
        Some(IdHash(hash.finalize().into()))
    }

    /// Like [`IdHash::of`], for an operation that refuses such an id.
    pub fn required(id: &str) -> Result<IdHash, Error> {
        IdHash::of(id).ok_or_else(|| Error::invalid("id: must be 1 to 255 bytes long"))
    }

    /// The hash that `handle` encodes; `None` for text that is not a handle.
    pub fn from_handle(handle: &str) -> Option<IdHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(handle, &mut bytes).ok()?;
        let hash = IdHash(bytes);
        // Upper-case digits are refused, so that each session has one handle.
        (hash.handle() == handle).then_some(hash)
    }

    /// The session's handle in listings: the hash in lower-case hexadecimal.
    pub fn handle(&self) -> String {
        hex::encode(self.0)
    }
}

/// A new id, 256 random bits in base64url of 43 characters, and its hash.
pub fn fresh() -> Result<(String, IdHash), Error> {
    let id = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let hash = IdHash::of(&id).expect("43 characters are a valid id");
    Ok((id, hash))
}

/// Generates an id and calls `insert` with its hash; retries with a new id while
/// `insert` returns false, which means a collision. Returns the id and its hash.
pub fn insert_under_fresh_id(
    mut insert: impl FnMut(&IdHash) -> Result<bool, Error>,
) -> Result<(String, IdHash), Error> {
    // A collision is practically impossible; repeated ones mean that the random
    // source is broken.
    for _ in 0..4 {
        let (id, hash) = fresh()?;
        if insert(&hash)? {
            return Ok((id, hash));
        }
    }
    Err(Error::Other("the host's random bytes repeat".into()))
}

/// Random bytes from the host.
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
        assert!(IdHash::of("").is_none());
        assert!(IdHash::of("x").is_some());
        assert!(IdHash::of(&"x".repeat(255)).is_some());
        assert!(IdHash::of(&"x".repeat(256)).is_none());
    }

    #[test]
    fn a_hash_is_sha_256_over_the_prefix_and_the_id() {
        let hash = Sha256::digest(b"session-id:abc");
        assert_eq!(IdHash::of("abc").unwrap().handle(), hex::encode(hash));
    }

    #[test]
    fn a_handle_is_lower_case_hexadecimal_of_64_characters() {
        let hash = IdHash::of("abc").unwrap();
        assert!(IdHash::from_handle(&hash.handle()) == Some(hash));
        assert!(IdHash::from_handle(&hash.handle().to_uppercase()).is_none());
        assert!(IdHash::from_handle(&hash.handle()[..62]).is_none());
        assert!(IdHash::from_handle("").is_none());
        assert!(IdHash::from_handle("é").is_none());
    }
}
