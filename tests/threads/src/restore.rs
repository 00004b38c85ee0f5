//! No backup is restored here.

use std::path::Path;

use crate::Error;
use crate::settings::Settings;

pub(crate) fn restore(_: Settings, _: &Path) -> Result<(), Error> {
    unreachable!("no schedule restores a backup")
}
