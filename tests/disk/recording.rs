//! A recorded run, and states of its disk after a power failure. Each is opened with the
//! real component, and compared with the contents that the store may have.

use std::env;

use crate::beginnings::put_reserve;
use crate::disk::{Disk, Operation};
use crate::expected::Expected;
use crate::image::Image;
use crate::model::Contents;
use crate::power::{Left, Progress};
use crate::process::{DATABASE, Process};
use crate::random::Random;
use crate::run::{Run, START, Settings, is_refusal};
use crate::script::Step;

/// The seconds from a power failure to the next start: long enough for a lock that was left
/// behind to count as dead, but too short for a tombstone to expire.
const AFTERWARDS: u64 = 20;

/// A run, with all operations on its disk.
pub struct Recording {
    name: String,
    settings: Settings,
    start: Image,
    log: Vec<Operation>,
    run: Run,
    /// Whether times are ignored: a table of the original has no times of creation.
    has_no_times: bool,
}

impl Recording {
    /// Runs a script on a disk with these contents.
    pub fn of(
        name: &str,
        settings: Settings,
        start: Image,
        held: Contents,
        steps: &[Step],
    ) -> Self {
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
            has_no_times: false,
        }
    }

    /// The same recording, in which times are ignored.
    pub fn without_times(mut self) -> Self {
        self.has_no_times = true;
        self.run.history.iter_mut().for_each(Contents::forget_times);
        self
    }

    /// Examines possible states of the disk after a power failure.
    pub fn cut(&self, states: usize) {
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

    /// The position in the log at which the power fails: for the first states just before
    /// and after syncs, for the others anywhere.
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

    /// Opens the store and the copies that it has made, and compares them with the contents
    /// that they may have.
    fn examine(&self, image: Image, now: u64, answers: usize, seed: u64) -> Result<(), String> {
        let copies: Vec<_> = self
            .run
            .copies
            .iter()
            .map(|(name, made)| (image.content(name).cloned(), name, *made))
            .collect();
        let history = &self.run.history;
        let keeps_all = self.settings.keeps_all();
        let first = if keeps_all { answers } else { 0 };
        let last = (answers + 1).min(history.len() - 1);
        let expected = |allowed| Expected {
            settings: self.settings,
            allowed,
            now,
            seed,
            has_no_times: self.has_no_times,
            unknown: 0,
        };
        let by_now = expected(&history[first..=last]);
        let mut random = Random::new(seed ^ 0xa9a1);
        if random.chance(1, 8) {
            // The power fails again during the recovery of the database.
            let image = by_now.cut_again(image.clone(), &mut random)?;
            let later = Expected {
                now: now + AFTERWARDS * 1_000_000_000,
                seed: !seed,
                ..by_now
            };
            let held = later.is_held_by(image);
            held.map_err(|what| format!("after a second loss of power: {what}"))?;
        }
        if let Some((before, after)) = self.settings.keys.change() {
            let is_complete = self.run.collected.is_some_and(|answer| answer <= answers);
            let with = |keys, is_refused| {
                Expected {
                    settings: self.settings.with(keys),
                    ..by_now
                }
                .is_held_unless_refused(image.clone(), is_refused)
            };
            with(before, true).map_err(|what| format!("with the key before: {what}"))?;
            with(after, !is_complete).map_err(|what| format!("with the new key: {what}"))?;
        }
        by_now.is_held_by(image)?;
        for (content, name, made) in copies {
            match content {
                Some(content) => {
                    let mut image = Image::default();
                    image.put(DATABASE, content);
                    put_reserve(&mut image);
                    let held = expected(&history[made - 1..made]).is_held_by(image);
                    held.map_err(|what| format!("the copy {name}: {what}"))?;
                }
                None if keeps_all && made < answers => {
                    return Err(format!("the copy {name} is gone"));
                }
                None => {}
            }
        }
        Ok(())
    }
}
