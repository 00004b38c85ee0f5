//! No backup is restored here.

use std::path::Path;

use crate::Error;
use crate::settings::{Files, Settings};

pub(crate) fn restore(_: &Files, _: Settings, _: &Path) -> Result<(), Error> {
    unreachable!("no schedule restores a backup")
}
