//! Refuses oversized requests before they are copied into the component's memory.

use crate::Error;
use crate::contract::types::Request;

/// The length to which ids and subjects are cut, in bytes. A cut at a character boundary
/// leaves at least 256 bytes, which is more than the contract allows.
const TOO_LONG: usize = 259;

/// Refuses a payload of more than `max_data` bytes. Truncates ids and subjects to at most
/// 259 bytes: longer ones stay above the contract's limit of 255, so the component refuses
/// them all the same.
pub(crate) fn check(request: &mut Request, max_data: u64) -> Result<(), Error> {
    if request.payload().len() as u64 > max_data {
        return Err(Error::TooLarge(max_data));
    }
    for name in request.names_mut() {
        name.truncate(shortened(name).len());
    }
    Ok(())
}

/// The part of an id, a subject, a handle or a cursor that the component needs to
/// see to accept or refuse it.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TOO_LONG)]
}
