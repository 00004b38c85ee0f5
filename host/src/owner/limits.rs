//! What is too large is refused before it takes the component's memory.

use crate::Error;
use crate::contract::types::Request;

/// Longer than an id or a subject may be, whatever character is the last.
const TOO_LONG: usize = 259;

/// Refuses a payload of more than `max_data` bytes. Truncates ids and
/// subjects to at most 259 bytes: that is still over the contract's 255, so the component's
/// answer is the same.
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
