//! Disks with a database, on which runs begin.

use std::sync::{Arc, LazyLock};

use crate::disk::Disk;
use crate::faults::{Fault, Faults};
use crate::image::Image;
use crate::model::Contents;
use crate::process::{DATABASE, Process};
use crate::run::{Run, START, Settings, observe};
use crate::script::{self, Step, create, destroy, rotate, set};

/// When these databases were created, in nanoseconds since the Unix epoch.
const BEFORE: u64 = START - 100_000_000_000;

/// A table of koa-generic-session-sequelize, with two live sessions and an expired one.
const ORIGINAL: &str = "
    CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
    CREATE INDEX by_expiry ON Sessions (expires);
    INSERT INTO Sessions VALUES ('first', '{}', 1700003600);
    INSERT INTO Sessions VALUES ('second', '{\"n\":1}', 1700003600);
    INSERT INTO Sessions VALUES ('expired', '{}', 1600000000);";

/// A disk with the database that these statements create.
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

/// A table of the original that no store has opened yet, and its contents after the migration.
pub fn original(settings: Settings) -> (Image, Contents) {
    let image = made_by(ORIGINAL);
    let mut process = Process::on(Disk::new(image.clone()), START, 3);
    process
        .open(DATABASE, &settings.options())
        .unwrap()
        .unwrap();
    let ids = ["first", "second"].map(str::to_owned);
    let (held, count) = observe(&mut process, &[&ids[0], &ids[1]]).unwrap().unwrap();
    assert_eq!((held.sessions.len(), count), (2, 2));
    (image, held)
}

/// A store that was closed.
pub fn closed(settings: Settings) -> (Image, Contents) {
    let mut run = ran(settings, &script::before_faults());
    run.process.close().unwrap();
    (run.process.kill().seen, run.contents)
}

/// A store whose key is about to be changed, as the settings say.
pub fn before_change_of_key(settings: Settings) -> (Image, Contents) {
    let (before, _) = settings.keys.change().expect("the keys change");
    let mut run = ran(settings.with(before), &script::before_change_of_key());
    run.process.close().unwrap();
    (run.process.kill().seen, run.contents)
}

/// A store whose owner was killed, with writes in its WAL, and its contents after each step.
pub fn killed(settings: Settings) -> (Image, Vec<Contents>) {
    let mut run = ran(settings, &script::before_faults());
    for step in script::short() {
        if !matches!(step, Step::Reopen) {
            run.step(&step).unwrap().unwrap();
        }
    }
    (run.process.kill().seen, run.history)
}

/// A store of which several sessions are written in one transaction: closed, and killed in the
/// middle of the transaction, at each call from which on recovery has to roll it back, or with
/// exclusive access to read it from the WAL. Also its contents before and after it.
pub fn killed_in_a_write(settings: Settings) -> (Image, Vec<Image>, [Contents; 2]) {
    let mut run = ran(settings, &script::before_change_of_key());
    run.process.close().unwrap();
    let (closed, held) = (run.process.kill().seen, run.contents);
    let begin = |faults| {
        let process = Process::on(Disk::new(closed.clone()), BEFORE + 1_000_000_000, 5);
        let mut run = Run::begin(process, settings, held.clone());
        run.open().unwrap().unwrap();
        run.process.world().faults = faults;
        let stepped = run.step(&script::writes_of_kept());
        (run, stepped.is_err())
    };
    let (run, _) = begin(Faults::default());
    let both = [held.clone(), run.contents];
    let mut images = Vec::new();
    for after in 0.. {
        let (run, was_killed) = begin(Faults::new(Fault::Kill, after, false));
        let image = run.process.kill().seen;
        let is_changed = |name: &str| image.content(name) != closed.content(name);
        let has_wal = image
            .content(&format!("{DATABASE}-wal"))
            .is_some_and(|wal| wal.len() > 32);
        if has_wal || is_changed(DATABASE) {
            images.push(image);
        }
        if !was_killed {
            return (closed, images, both);
        }
    }
    unreachable!("the write ends");
}

/// A backup that replaced a database whose owner was killed. The old database's WAL or
/// journal still exists.
pub fn restored(settings: Settings) -> (Image, Contents) {
    let mut run = ran(
        settings,
        &[
            set("first", "copied"),
            set("second", "{}"),
            Step::Backup("copy.db"),
        ],
    );
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
    (image, held)
}

fn ran(settings: Settings, steps: &[Step]) -> Run {
    let process = Process::on(Disk::new(Image::default()), BEFORE, 5);
    let mut run = Run::begin(process, settings, Contents::default());
    run.open().unwrap().unwrap();
    for step in steps {
        run.step(step).unwrap().unwrap();
    }
    run
}

/// Puts the reserve of an exclusive store on a disk. Its content does not matter, and letting
/// the component write it would take longer than everything else.
pub fn put_reserve(image: &mut Image) {
    static CONTENT: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(vec![7; 1 << 20]));
    image.put(&format!("{DATABASE}-reserve"), CONTENT.clone());
}
