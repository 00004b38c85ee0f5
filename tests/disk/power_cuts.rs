//! Loss of power at any moment of a run: the store that opens afterwards holds what it has
//! answered, or with `relaxed` durability what it held at some earlier moment.
//!
//! `DISK_STATES` is how many states each run is cut into. `DISK_STATE=<run>:<number>`, as a
//! failure prints it, examines that state alone.

use crate::disk::Disk;
use crate::image::Image;
use crate::model::Contents;
use crate::process::{DATABASE, Process};
use crate::recording::Recording;
use crate::run::{Run, START, Settings, observe};
use crate::script::{self, Step, create, destroy, rotate, set};

/// How many states each of the 16 runs is cut into.
const STATES: usize = 640;

/// A table of koa-generic-session-sequelize, with two live sessions and an expired one.
const ORIGINAL: &str = "
    CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
    CREATE INDEX by_expiry ON Sessions (expires);
    INSERT INTO Sessions VALUES ('first', '{}', 1700003600);
    INSERT INTO Sessions VALUES ('second', '{\"n\":1}', 1700003600);
    INSERT INTO Sessions VALUES ('expired', '{}', 1600000000);";

/// A disk with the database that these statements make.
fn made_by(statements: &str) -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(statements).unwrap();
    drop(database);
    let mut image = Image::default();
    image.put(DATABASE, std::fs::read(path).unwrap());
    image
}

fn begins_empty(name: &str, settings: Settings, steps: &[Step]) {
    let nothing = (Image::default(), Contents::default());
    Recording::of(name, settings, nothing.0, nothing.1, steps).cut(STATES);
}

/// The store of another program is taken over when it is opened.
fn takes_over(settings: Settings) {
    let image = made_by(ORIGINAL);
    let mut process = Process::on(Disk::new(image.clone()), START, 3);
    process
        .open(DATABASE, &settings.options())
        .unwrap()
        .unwrap();
    let ids = ["first", "second"].map(str::to_owned);
    let (held, count) = observe(&mut process, &[&ids[0], &ids[1]]).unwrap().unwrap();
    assert_eq!((held.sessions.len(), count), (2, 2));
    let recording = Recording::of("original", settings, image, held, &script::short());
    recording.without_times().cut(STATES);
}

/// A copy was put in the place of a database whose owner was killed: its log, or journal,
/// is still there.
fn restores(settings: Settings) {
    let process = Process::on(Disk::new(Image::default()), START - 3_600_000_000_000, 5);
    let mut run = Run::begin(process, settings, Contents::default());
    run.open().unwrap().unwrap();
    for step in [
        set("first", "copied"),
        set("second", "{}"),
        Step::Backup("copy.db"),
    ] {
        run.step(&step).unwrap().unwrap();
    }
    let held = run.contents.clone();
    for step in [
        set("first", "later"),
        create("later", None),
        destroy("second"),
        rotate("#0", None),
    ] {
        run.step(&step).unwrap().unwrap();
    }
    let mut image = run.process.kill().seen;
    let copy = image.content("copy.db").unwrap().clone();
    image.put(DATABASE, copy);
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
fn a_table_of_the_original_is_taken_over_or_still_there() {
    Settings::ALL.into_iter().for_each(takes_over);
}

#[test]
fn a_restored_copy_is_never_mixed_with_the_log_of_another_database() {
    Settings::ALL.into_iter().for_each(restores);
}
