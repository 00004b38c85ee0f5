//! Encryption at rest: payloads and subjects sealed with XChaCha20-Poly1305.
//!
//! Each table has its own sub-keys, derived from the key with HKDF-SHA-256, so a row
//! copied from another table does not open. A payload is bound to its row by associated
//! data: the hash of the id, `version`, `updated` and the sealed subject. `created` and
//! `expires` can change without a new payload and so are not bound.
//!
//! Sealing a subject is deterministic, so that an index finds it: the nonce is a keyed
//! hash of the subject (HMAC-SHA-256).

use crate::error::Error;
use crate::id::{self, IdHash};
use crate::key::Key;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;

/// How much longer a sealed payload is than the payload, in bytes.
pub const SEAL_LENGTH: usize = NONCE_LENGTH + TAG_LENGTH;

/// The length of a check value, in bytes.
pub const CHECK_LENGTH: usize = 16;

/// A sub-key; overwritten when dropped.
type SubKey = Zeroizing<[u8; 32]>;

/// The ciphers that seal and open the rows of one table.
pub struct Seal {
    payloads: XChaCha20Poly1305,
    subjects: XChaCha20Poly1305,
    subject_nonces: Hmac<Sha256>,
    check: [u8; CHECK_LENGTH],
}

/// The row that a payload is bound to.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// The hash of the session's id.
    pub hash: &'a IdHash,
    /// The session's version.
    pub version: u64,
    /// When the session was last written.
    pub updated: u64,
    /// The session's subject as it is stored.
    pub subject: Option<&'a str>,
}

impl Binding<'_> {
    /// The associated data. It is unambiguous: only the last part has a variable length,
    /// and a sealed subject is never empty.
    fn bytes(&self) -> Vec<u8> {
        let (version, updated) = (self.version.to_be_bytes(), self.updated.to_be_bytes());
        let subject = self.subject.unwrap_or_default().as_bytes();
        [&self.hash.0[..], &version, &updated, subject].concat()
    }
}

impl Seal {
    /// The seal of `table`. The case of its name does not matter.
    pub fn new(key: &Key, table: &str) -> Seal {
        let master = Hkdf::<Sha256>::new(Some(b"wasi-sessions"), key.bytes());
        let table = table.to_ascii_lowercase();
        let derive = |purpose: &str, out: &mut [u8]| {
            let purpose = format!("{purpose} {table}");
            let derived = master.expand(purpose.as_bytes(), out);
            derived.expect("a sub-key is shorter than the longest output of HKDF");
        };
        let sub_key = |purpose| {
            let mut sub_key = SubKey::default();
            derive(purpose, &mut *sub_key);
            sub_key
        };
        let cipher = |purpose| XChaCha20Poly1305::new((&*sub_key(purpose)).into());
        let mut check = [0; CHECK_LENGTH];
        derive("check", &mut check);
        Seal {
            payloads: cipher("payload"),
            subjects: cipher("subject"),
            subject_nonces: Hmac::new_from_slice(&*sub_key("subject nonce"))
                .expect("HMAC takes a key of any length"),
            check,
        }
    }

    /// A check value that distinguishes keys: it differs for another key or table. It is
    /// not secret, and no key can be computed from it.
    pub fn check(&self) -> [u8; CHECK_LENGTH] {
        self.check
    }

    /// Seals a payload for one row, under a new random nonce.
    pub fn seal(&self, binding: &Binding, data: &[u8]) -> Result<Vec<u8>, Error> {
        encrypt(&self.payloads, id::random()?, &binding.bytes(), data)
    }

    /// Opens the payload of a row; `None` if the row or its payload was changed.
    pub fn open(&self, binding: &Binding, sealed: &[u8]) -> Option<Vec<u8>> {
        decrypt(&self.payloads, &binding.bytes(), sealed)
    }

    /// The sealed form of a subject, in base64url. It shows the subject's length.
    pub fn seal_subject(&self, subject: &str) -> Result<String, Error> {
        let nonce = self.subject_nonce(subject);
        let sealed = encrypt(&self.subjects, nonce, &[], subject.as_bytes())?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a subject; `None` if it was changed.
    pub fn open_subject(&self, sealed: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        String::from_utf8(decrypt(&self.subjects, &[], &sealed)?).ok()
    }

    fn subject_nonce(&self, subject: &str) -> [u8; NONCE_LENGTH] {
        let hash = self.subject_nonces.clone().chain_update(subject);
        let hash: [u8; 32] = hash.finalize().into_bytes().into();
        *hash.first_chunk().expect("a hash has 32 bytes")
    }
}

/// The nonce, the encrypted bytes, and their tag.
fn encrypt(
    cipher: &XChaCha20Poly1305,
    nonce: [u8; NONCE_LENGTH],
    bound: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_LENGTH);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let encrypted = sealed[NONCE_LENGTH..].as_mut().into();
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), bound, encrypted)
        .map_err(|_| Error::Other("the payload is too long to be sealed".into()))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Reverses [`encrypt`]; `None` if anything was changed.
fn decrypt(cipher: &XChaCha20Poly1305, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
    let (encrypted, tag) = sealed.split_last_chunk::<TAG_LENGTH>()?;
    let mut plain = encrypted.to_vec();
    let opened = cipher.decrypt_inout_detached(
        &XNonce::from(*nonce),
        bound,
        plain.as_mut_slice().into(),
        &(*tag).into(),
    );
    opened.ok().map(|()| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: u8, table: &str) -> Seal {
        let text = base64::engine::general_purpose::STANDARD.encode([key; 32]);
        Seal::new(&Key::from_base64(&text).unwrap(), table)
    }

    fn row<'a>(hash: &'a IdHash, subject: Option<&'a str>) -> Binding<'a> {
        Binding {
            hash,
            version: 1,
            updated: 2,
            subject,
        }
    }

    #[test]
    fn a_payload_opens_for_the_same_row_only() {
        let (hash, other_hash) = (IdHash::of("a").unwrap(), IdHash::of("b").unwrap());
        let row = row(&hash, Some("s"));
        let others = [
            Binding {
                hash: &other_hash,
                ..row
            },
            Binding { version: 2, ..row },
            Binding { updated: 1, ..row },
            Binding {
                subject: Some("t"),
                ..row
            },
            Binding {
                subject: None,
                ..row
            },
        ];
        let sessions = seal(1, "Sessions");
        for data in [&b""[..], b"x", &[7; 100_000]] {
            let sealed = sessions.seal(&row, data).unwrap();
            assert_eq!(sealed.len(), data.len() + SEAL_LENGTH);
            assert_eq!(sessions.open(&row, &sealed).as_deref(), Some(data));
            for other in &others {
                assert_eq!(sessions.open(other, &sealed), None);
            }
            for other in [seal(2, "Sessions"), seal(1, "Others")] {
                assert_eq!(other.open(&row, &sealed), None);
            }
            let same = seal(1, "SESSIONS");
            assert_eq!(same.open(&row, &sealed).as_deref(), Some(data));
        }
    }

    #[test]
    fn a_payload_with_a_flipped_bit_or_cut_short_does_not_open() {
        let hash = IdHash::of("a").unwrap();
        let row = row(&hash, None);
        let sessions = seal(1, "Sessions");
        let sealed = sessions.seal(&row, b"payload").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sessions.open(&row, &flipped), None, "{bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sessions.open(&row, &sealed[..length]), None, "{length}");
        }
    }

    #[test]
    fn the_same_payload_is_never_sealed_to_the_same_bytes() {
        let hash = IdHash::of("a").unwrap();
        let row = row(&hash, None);
        let sessions = seal(1, "Sessions");
        assert_ne!(
            sessions.seal(&row, b"payload").unwrap(),
            sessions.seal(&row, b"payload").unwrap()
        );
    }

    #[test]
    fn the_same_subject_is_always_sealed_to_the_same_text() {
        let sessions = seal(1, "Sessions");
        let longest = "y".repeat(255);
        let mut sealed = vec![];
        for subject in ["a", "b", "\0", "é", &longest] {
            let text = sessions.seal_subject(subject).unwrap();
            assert_eq!(sessions.seal_subject(subject).unwrap(), text);
            assert_eq!(sessions.open_subject(&text).as_deref(), Some(subject));
            for other in [seal(2, "Sessions"), seal(1, "Others")] {
                assert_eq!(other.open_subject(&text), None);
                assert_ne!(other.seal_subject(subject).unwrap(), text);
            }
            sealed.push(text);
        }
        sealed.sort();
        sealed.dedup();
        assert_eq!(sealed.len(), 5);
        for bad in ["", "a", "é", &sealed[0][1..]] {
            assert_eq!(sessions.open_subject(bad), None);
        }
    }

    #[test]
    fn check_values_differ_by_key_and_by_table() {
        let check = seal(1, "Sessions").check();
        assert_eq!(seal(1, "sessions").check(), check);
        assert_ne!(seal(2, "Sessions").check(), check);
        assert_ne!(seal(1, "Others").check(), check);
    }
}
