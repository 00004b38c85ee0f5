//! The expected contents of a store, and their comparison with a disk.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::disk::Disk;
use crate::image::Image;
use crate::model::Contents;
use crate::power::{Left, Progress};
use crate::process::{Called, DATABASE, Error, Process};
use crate::random::Random;
use crate::run::{Settings, check, is_refused, observe};
use crate::script::{self, Step};

/// The contents that a store may have.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// How the store is opened.
    pub settings: Settings,
    /// The store must have one of these contents.
    pub allowed: &'a [Contents],
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
    /// The seed of the randomness.
    pub seed: u64,
    /// Whether times of creation and of updates are ignored.
    pub has_no_times: bool,
    /// The number of further sessions, whose ids are unknown.
    pub unknown: u64,
}

impl Expected<'_> {
    /// Opens the store of a disk, and checks that it is undamaged, has one of the allowed
    /// contents, refuses ended ids, and can be written.
    pub fn is_held_by(&self, image: Image) -> Result<(), String> {
        self.is_held_on(Disk::new(image))
    }

    /// Like [`Expected::is_held_by`], on a disk that was in use.
    pub fn is_held_on(&self, disk: Disk) -> Result<(), String> {
        let mut process = Process::on(disk, self.now, self.seed);
        answer(process.open(DATABASE, &self.settings.options()))?;
        self.is_held_and_goes_on(process)
    }

    /// Like [`Expected::is_held_by`], but the options may be refused if that is allowed: they
    /// may lack a key.
    pub fn is_held_unless_refused(&self, image: Image, may_refuse: bool) -> Result<(), String> {
        let mut process = Process::on(Disk::new(image), self.now, self.seed);
        match process.open(DATABASE, &self.settings.options()) {
            Ok(Err(Error::InvalidArgument(_))) if may_refuse => Ok(()),
            opened => {
                answer(opened)?;
                self.is_held_and_goes_on(process)
            }
        }
    }

    fn is_held_and_goes_on(&self, mut process: Process) -> Result<(), String> {
        is_sound(&mut process)?;
        self.is_held(&mut process)?;
        let Step::Alone(request) = script::set("goes on", "{}") else {
            unreachable!("a write is one request");
        };
        answer(process.request(&request))?;
        is_sound(&mut process)
    }

    /// Compares the contents of an open store.
    pub fn is_held(&self, process: &mut Process) -> Result<(), String> {
        let ids: BTreeSet<_> = self
            .allowed
            .iter()
            .flat_map(|of| of.sessions.keys())
            .collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let (mut held, count) = answer(observe(process, &ids))?;
        if self.has_no_times {
            held.forget_times();
        }
        let now = process.now();
        let fits = |of: &&Contents| {
            of.live(now) == held.sessions && count == held.sessions.len() as u64 + self.unknown
        };
        let fitting: Vec<_> = self.allowed.iter().filter(fits).collect();
        let Some(first) = fitting.first() else {
            return Err(self.different(&held, count, now));
        };
        for id in first.refused(now) {
            let in_all = fitting.iter().all(|of| of.refused(now).contains(&id));
            if in_all && !answer(is_refused(process, &id))? {
                return Err(format!("{id} was ended, and a late write begins it anew"));
            }
        }
        Ok(())
    }

    /// The disk after a second power failure, while the store is being opened.
    pub fn cut_again(&self, image: Image, random: &mut Random) -> Result<Image, String> {
        let mut process = Process::on(Disk::new(image), self.now, self.seed);
        answer(process.open(DATABASE, &self.settings.options()))?;
        let disk = process.kill();
        let mut progress = Progress::new(&disk.start, random.next());
        let end = random.below(disk.log.len() + 1);
        disk.log[..end]
            .iter()
            .for_each(|operation| progress.pass(operation));
        Ok(progress.cut(Left::Part, random))
    }

    /// The differences from the allowed contents that are most similar.
    fn different(&self, held: &Contents, count: u64, now: u64) -> String {
        let differences = |of: &Contents| -> Vec<String> {
            let expected = of.live(now);
            let other = |id: &&String| held.sessions.get(*id) != expected.get(*id);
            let ids: BTreeSet<_> = expected.keys().chain(held.sessions.keys()).collect();
            ids.into_iter().filter(other).cloned().collect()
        };
        let all = self.allowed.iter().map(differences).enumerate();
        let (number, ids) = all.min_by_key(|(_, ids)| ids.len()).unwrap_or_default();
        format!("{count} sessions; unlike allowed contents {number} are those of {ids:?}")
    }
}

/// The answer to a call that must not fail.
pub fn answer<T>(called: Called<T>) -> Result<T, String> {
    let of = |what: &str, error: &dyn Debug| format!("{what}: {error:?}");
    let answered = called.map_err(|error| of("a trap", &error))?;
    answered.map_err(|error| of("an error", &error))
}

/// Checks that the database is undamaged.
pub fn is_sound(process: &mut Process) -> Result<(), String> {
    match answer(check(process))? {
        damage if damage.is_empty() => Ok(()),
        damage => Err(format!("not sound: {damage:?}")),
    }
}
