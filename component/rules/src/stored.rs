//! Values as a database on a server stores them: signed numbers, and hashes and subjects as
//! bytes. Reading fails where only damage can be the cause.

use crate::error::Error;
use crate::id::IdHash;
use crate::types::END_OF_TIME;

/// A number as the database stores it: saturated at the largest signed one.
pub fn signed(number: u64) -> i64 {
    number.min(END_OF_TIME) as i64
}

/// Reads a number, which is never negative in a sound table.
pub fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| corrupt("a number is negative"))
}

/// Reads the hash of an id.
pub fn hash(bytes: &[u8]) -> Result<IdHash, Error> {
    let hash = bytes.try_into();
    hash.map(IdHash)
        .map_err(|_| corrupt("a hash does not have 32 bytes"))
}

/// Reads a subject.
pub fn subject(bytes: Option<Vec<u8>>) -> Result<Option<String>, Error> {
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| corrupt("a subject is not UTF-8"))
}

fn corrupt(words: &str) -> Error {
    Error::Corrupt(words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_sound_table_has_is_damage() {
        let damage = [
            unsigned(-1).err(),
            hash(&[0; 31]).err(),
            subject(Some(vec![0xff])).err(),
        ];
        for error in damage {
            assert!(matches!(error, Some(Error::Corrupt(_))), "{error:?}");
        }
        assert_eq!(unsigned(signed(u64::MAX)), Ok(END_OF_TIME));
        assert_eq!(subject(Some(b"alice".to_vec())), Ok(Some("alice".into())));
    }
}
