//! Tests of power failures at any moment of a run: the store that opens afterwards has all
//! answered writes, or with `relaxed` durability its contents at some earlier moment.
//!
//! `DISK_STATES` is how many states of the disk are examined for each run.
//! `DISK_STATE=<run>:<number>`, as a failure prints it, examines only that state.

use crate::beginnings;
use crate::image::Image;
use crate::model::Contents;
use crate::recording::Recording;
use crate::run::{Keys, Settings};
use crate::script::{self, Step};

/// How many states are examined for each of the 16 runs without a key.
const STATES: usize = 640;

/// How many states are examined for each of the 16 runs with keys.
const SEALED_STATES: usize = 64;

fn begins_empty(name: &str, settings: Settings, steps: &[Step]) {
    let nothing = (Image::default(), Contents::default());
    Recording::of(name, settings, nothing.0, nothing.1, steps).cut(STATES);
}

/// A run that begins with the migration of the original's table.
fn takes_over(settings: Settings) {
    let (image, held) = beginnings::original(settings);
    let recording = Recording::of("original", settings, image, held, &script::short());
    recording.without_times().cut(STATES);
}

fn changes_its_key(settings: Settings, name: &str) {
    let (image, held) = beginnings::before_change_of_key(settings);
    let steps = script::change_of_key();
    Recording::of(name, settings, image, held, &steps).cut(SEALED_STATES);
}

fn restores(settings: Settings) {
    let (image, held) = beginnings::restored(settings);
    Recording::of("restored", settings, image, held, &script::short()).cut(STATES);
}

#[test]
fn nothing_is_lost_with_exclusive_access_and_full_durability() {
    let settings = Settings::new(true, true);
    begins_empty("everything", settings, &script::everything());
    begins_empty("many-pages", settings, &script::many_pages());
}

#[test]
fn only_the_last_writes_are_lost_with_exclusive_access_and_relaxed_durability() {
    let settings = Settings::new(true, false);
    begins_empty("everything", settings, &script::everything());
    begins_empty("many-pages", settings, &script::many_pages());
}

#[test]
fn nothing_is_lost_with_shared_access() {
    for is_full in [true, false] {
        let settings = Settings::new(false, is_full);
        begins_empty("everything", settings, &script::everything());
        begins_empty("many-pages", settings, &script::many_pages());
    }
}

#[test]
fn nothing_of_a_sealed_store_is_lost() {
    for settings in Settings::ALL {
        let settings = settings.with(Keys::FIRST);
        let nothing = (Image::default(), Contents::default());
        let steps = script::everything();
        Recording::of("sealed", settings, nothing.0, nothing.1, &steps).cut(SEALED_STATES);
    }
}

#[test]
fn a_change_of_the_key_is_cut_anywhere_and_goes_on() {
    for settings in Settings::ALL {
        let first = Keys::FIRST.after(Keys::NONE);
        changes_its_key(settings.with(first), "first-key");
        let second = Keys::SECOND.after(Keys::FIRST);
        changes_its_key(settings.with(second), "second-key");
        let none = Keys::NONE.after(Keys::SECOND);
        changes_its_key(settings.with(none), "no-key");
    }
}

#[test]
fn a_table_of_the_original_is_migrated_or_unchanged() {
    Settings::ALL.into_iter().for_each(takes_over);
}

#[test]
fn a_restored_copy_is_never_mixed_with_the_log_of_another_database() {
    Settings::ALL.into_iter().for_each(restores);
}
