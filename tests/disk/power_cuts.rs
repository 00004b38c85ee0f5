//! Loss of power at any moment of a run: the store that opens afterwards holds what it has
//! answered, or with `relaxed` durability what it held at some earlier moment.
//!
//! `DISK_STATES` is how many states each run is cut into. `DISK_STATE=<run>:<number>`, as a
//! failure prints it, examines that state alone.

use std::collections::BTreeSet;
use std::env;
use std::sync::{Arc, LazyLock};

use crate::disk::{Disk, Operation};
use crate::image::Image;
use crate::model::Contents;
use crate::power::{Left, Progress};
use crate::process::{DATABASE, Process};
use crate::random::Random;
use crate::run::{Run, START, Settings, check, is_refusal, is_refused, observe};
use crate::script::{self, Step};

/// How many states each of the runs is cut into.
const STATES: usize = 500;

/// The seconds from a loss of power to the next start: long enough for a lock that was
/// left to count as dead, and not for a tombstone to expire.
const AFTERWARDS: u64 = 20;

/// Puts the reserve of an exclusive store on a disk. What is in it does not matter, and for
/// the component to write it takes longer than all else.
fn put_reserve(image: &mut Image) {
    static CONTENT: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(vec![7; 1 << 20]));
    image.put(&format!("{DATABASE}-reserve"), CONTENT.clone());
}

/// A run, with all that was done to its disk.
struct Recording {
    name: String,
    settings: Settings,
    start: Image,
    log: Vec<Operation>,
    run: Run,
}

impl Recording {
    /// Runs a script on a disk that holds these contents.
    fn of(name: &str, settings: Settings, start: Image, held: Contents, steps: &[Step]) -> Self {
        let process = Process::on(Disk::new(start), START, 7);
        let mut run = Run::begin(process, settings, held);
        run.open().unwrap().unwrap();
        for step in steps {
            if let Err(error) = run.step(step).unwrap() {
                assert!(is_refusal(&error), "{step:?}: {error:?}");
            }
        }
        run.process.close().unwrap();
        let disk = &mut run.process.world().disk;
        let log = std::mem::take(&mut disk.log);
        let start = disk.start.clone();
        let access = if settings.is_exclusive {
            "exclusive"
        } else {
            "shared"
        };
        let durability = if settings.is_full { "full" } else { "relaxed" };
        Self {
            name: format!("{name}-{access}-{durability}"),
            settings,
            start,
            log,
            run,
        }
    }

    /// Examines states in which the disk may be after a loss of power.
    fn cut(&self, states: usize) {
        let states = match env::var("DISK_STATES") {
            Ok(number) => number.parse().expect("DISK_STATES is a number"),
            Err(_) => states,
        };
        let mut cuts: Vec<_> = (0..states)
            .map(|number| (self.position(number), number))
            .collect();
        if let Ok(wanted) = env::var("DISK_STATE") {
            cuts.retain(|(_, number)| format!("{}:{number}", self.name) == wanted);
        }
        cuts.sort_unstable();
        let mut progress = Progress::new(&self.start, 1);
        let (mut passed, mut answers) = (0, 0);
        for (position, number) in cuts {
            for operation in &self.log[passed..position] {
                progress.pass(operation);
                answers += usize::from(matches!(operation, Operation::Answered { .. }));
            }
            passed = position;
            let mut random = Random::new(number as u64);
            let left = match number % 8 {
                0 => Left::Nothing,
                1 => Left::Everything,
                _ => Left::Part,
            };
            let mut image = progress.cut(left, &mut random);
            if !random.chance(1, 16) {
                put_reserve(&mut image);
            }
            let now = progress.now().max(START) + AFTERWARDS * 1_000_000_000;
            if let Err(what) = self.examine(image, now, answers, number as u64) {
                panic!(
                    "{what}\nafter {answers} answers and {position} operations; again with \
                     DISK_STATE={}:{number}",
                    self.name
                );
            }
        }
    }

    /// Where the power fails: for the first states just before and after the syncs, for
    /// the others anywhere.
    fn position(&self, number: usize) -> usize {
        let is_sync = |operation: &Operation| matches!(operation, Operation::Sync { .. });
        let syncs = self
            .log
            .iter()
            .enumerate()
            .filter(|(_, operation)| is_sync(operation));
        let syncs: Vec<usize> = syncs.map(|(position, _)| position).collect();
        let mut random = Random::new(number as u64 ^ 0x5eed);
        match number % 2 {
            0 if !syncs.is_empty() => syncs[number / 2 % syncs.len()] + random.below(2),
            _ => random.below(self.log.len() + 1),
        }
    }

    /// Opens what is left, and compares it with what the store may hold.
    fn examine(&self, image: Image, now: u64, answers: usize, seed: u64) -> Result<(), String> {
        let copies: Vec<_> = self
            .run
            .copies
            .iter()
            .filter_map(|(name, made)| Some((image.content(name)?.clone(), name, *made)))
            .collect();
        let history = &self.run.history;
        let first = if self.settings.keeps_all() {
            answers
        } else {
            0
        };
        let last = (answers + 1).min(history.len() - 1);
        open(image, self.settings, &history[first..=last], now, seed)?;
        for (name, made) in &self.run.copies {
            if self.settings.keeps_all()
                && *made < answers
                && !copies.iter().any(|copy| copy.1 == name)
            {
                return Err(format!("the copy {name} is gone"));
            }
        }
        for (content, name, made) in copies {
            let mut image = Image::default();
            image.put(DATABASE, content);
            put_reserve(&mut image);
            open(image, self.settings, &history[made - 1..made], now, seed)
                .map_err(|what| format!("the copy {name}: {what}"))?;
        }
        Ok(())
    }
}

/// Opens a store, and expects it to be sound and to hold one of these contents.
fn open(
    image: Image,
    settings: Settings,
    allowed: &[Contents],
    now: u64,
    seed: u64,
) -> Result<(), String> {
    let now = START + 3_600_000_000_000;
    let _ = now;
    let now = image
        .files
        .values()
        .map(|file| file.modified)
        .max()
        .unwrap_or(START);
    let now = now.max(START) + AFTERWARDS * 1_000_000_000;
    let mut process = Process::on(Disk::new(image), now, seed);
    let trap = |error| format!("a trap: {error:?}");
    let failed = |error| format!("an error: {error:?}");
    process
        .open(DATABASE, &settings.options())
        .map_err(trap)?
        .map_err(failed)?;
    let sound = |process: &mut Process| match check(process) {
        Ok(Ok(damage)) if damage.is_empty() => Ok(()),
        other => Err(format!("not sound: {other:?}")),
    };
    sound(&mut process)?;

    let ids: BTreeSet<_> = allowed.iter().flat_map(|of| of.sessions.keys()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let (held, count) = observe(&mut process, &ids).map_err(trap)?.map_err(failed)?;
    let now = process.now();
    let fits =
        |of: &&Contents| of.live(now) == held.sessions && count == held.sessions.len() as u64;
    let fitting: Vec<_> = allowed.iter().filter(fits).collect();
    let Some(first) = fitting.first() else {
        return Err(different(&held, count, allowed, now));
    };
    for id in first.refused(now) {
        let everywhere = fitting.iter().all(|of| of.refused(now).contains(&id));
        if everywhere
            && !is_refused(&mut process, &id)
                .map_err(trap)?
                .map_err(failed)?
        {
            return Err(format!("{id} was ended, and a late write begins it anew"));
        }
    }
    let Step::Alone(request) = script::set("goes on", "{}") else {
        unreachable!("a write is one request");
    };
    process.request(&request).map_err(trap)?.map_err(failed)?;
    sound(&mut process)
}

/// What is different from the contents that are most alike.
fn different(held: &Contents, count: u64, allowed: &[Contents], now: u64) -> String {
    let differences = |of: &Contents| -> Vec<String> {
        let expected = of.live(now);
        let other = |id: &&String| held.sessions.get(*id) != expected.get(*id);
        let ids: BTreeSet<_> = expected.keys().chain(held.sessions.keys()).collect();
        ids.into_iter().filter(other).cloned().collect()
    };
    let all = allowed.iter().map(differences).enumerate();
    let (number, ids) = all.min_by_key(|(_, ids)| ids.len()).unwrap_or_default();
    format!("{count} sessions; unlike allowed contents {number} are those of {ids:?}")
}

fn cut_all(name: &str, settings: Settings, steps: &[Step], states: usize) {
    let recording = Recording::of(name, settings, Image::default(), Contents::default(), steps);
    recording.cut(states);
}

#[test]
fn nothing_is_lost_with_exclusive_access() {
    for settings in [Settings::ALL[0], Settings::ALL[1]] {
        cut_all("everything", settings, &script::everything(), STATES);
        cut_all("many-pages", settings, &script::many_pages(), STATES);
    }
}

#[test]
fn nothing_is_lost_with_shared_access() {
    for settings in [Settings::ALL[2], Settings::ALL[3]] {
        cut_all("everything", settings, &script::everything(), STATES);
        cut_all("many-pages", settings, &script::many_pages(), STATES);
    }
}
