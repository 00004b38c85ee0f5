//! Random tokens, and comparing secrets in constant time.

#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

/// A new token of 128 random bits.
///
/// # Panics
///
/// When the host gives no random bytes, since no form would be safe.
pub fn token() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the host gives random bytes");
    URL_SAFE_NO_PAD.encode(random)
}

/// Whether the two are equal. The time that this takes reveals only their lengths.
pub fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_the_same() {
        let (one, other) = (token(), token());
        assert_eq!(one.len(), 22);
        assert!(same(&one, &one.clone()));
        assert!(!same(&one, &other));
        assert!(!same(&one, &one[..21]));
    }
}
