//! Two owners of a shared database that take turns with one disk: what each of them finds at
//! first, how it repeats a request that was answered `busy`, and whether all agree in the end.

use std::mem;

use crate::beginnings;
use crate::disk::Disk;
use crate::expected::{Expected, is_sound};
use crate::fault_runs::look;
use crate::image::Image;
use crate::model::Contents;
use crate::process::{Called, Error, Process};
use crate::run::{Run, START, Settings};
use crate::script::{self, Step, set};
use crate::stops::{Baton, Stop};
use crate::world::World;

/// The nanoseconds between the end of a run and the next start.
const AFTERWARDS: u64 = 20_000_000_000;

const SETTINGS: Settings = Settings::new(false, true);

/// A disk with a closed database, and the contents of the database.
pub struct Beginning {
    pub image: Image,
    pub held: Contents,
    /// What its first owner does.
    pub steps: Vec<Step>,
    /// Whether the next owner opens it before the first one.
    next_is_open: bool,
}

/// An owner, and whether it has the store open.
pub struct Owner {
    pub run: Run,
    is_open: bool,
}

impl Beginning {
    pub fn closed() -> Self {
        let (image, held) = beginnings::closed(SETTINGS);
        Self {
            image,
            held,
            steps: script::with_faults(),
            next_is_open: true,
        }
    }

    /// A backup in the place of the database, beside the journal of another database. The
    /// first owner that opens it makes it a live database.
    pub fn restored() -> Self {
        let (image, held) = beginnings::restored(SETTINGS);
        Self {
            image,
            held,
            steps: script::short(),
            next_is_open: false,
        }
    }

    pub fn empty() -> Self {
        Self {
            image: Image::default(),
            held: Contents::default(),
            steps: script::short(),
            next_is_open: false,
        }
    }

    /// The first owner, which has the disk, and the next one, which knows at most the session
    /// `common`.
    pub fn owners(&self, seed: u64) -> Result<(Owner, Owner), String> {
        let mut baton = self.baton();
        let mut next = Owner::new(!seed, Contents::default());
        if self.next_is_open {
            next.run.process.world().take_back(baton);
            next.must(&set("common", "{}"))?;
            baton = next.run.process.world().hand_over();
        }
        let mut first = Owner::new(seed, self.held.clone());
        first.run.process.world().take_back(baton);
        Ok((first, next))
    }

    pub fn baton(&self) -> Baton {
        Baton {
            disk: Disk::new(self.image.clone()),
            now: START,
        }
    }
}

impl Owner {
    /// An owner without a disk.
    pub fn new(seed: u64, held: Contents) -> Self {
        let process = Process::on(Disk::new(Image::default()), START, seed);
        Self {
            run: Run::begin(process, SETTINGS, held),
            is_open: false,
        }
    }

    pub fn world(&mut self) -> &mut World {
        self.run.process.world()
    }

    /// Makes it stop after this many calls; `meanwhile` runs while it is stopped.
    pub fn stop(&mut self, after: u64, meanwhile: impl FnOnce(&mut World) + Send + 'static) {
        self.world().stop = Some(Stop {
            after,
            meanwhile: Box::new(meanwhile),
        });
    }

    /// Opens the store if it is not open, and runs a step; false if the answer is `busy`.
    pub fn attempt(&mut self, step: &Step) -> Result<bool, String> {
        if !self.is_open {
            self.is_open = is_done(self.run.open())?;
        }
        if !self.is_open {
            return Ok(false);
        }
        let done = is_done(self.run.step(step))?;
        if matches!(step, Step::Reopen) {
            self.is_open = done;
        }
        Ok(done)
    }

    /// Runs a step that must not be answered `busy`.
    pub fn must(&mut self, step: &Step) -> Result<(), String> {
        match self.attempt(step)? {
            true => Ok(()),
            false => Err("busy, though the database is free".to_owned()),
        }
    }

    /// Repeats a step that was answered `busy`, perhaps after its writes were kept. `others`
    /// is the number of sessions that the other owner knows. Returns how many sessions the
    /// first attempt has started under ids that no answer contained.
    pub fn again(&mut self, step: &Step, others: u64) -> Result<u64, String> {
        let is_reopening = matches!(step, Step::Reopen);
        let unknown = match self.is_open && !is_reopening {
            true => look(&mut self.run, step, others)?,
            false => 0,
        };
        self.must(step)?;
        Ok(unknown)
    }
}

/// Whether a call succeeded; false if it was answered `busy`. Fails for any other error.
fn is_done(called: Called<()>) -> Result<bool, String> {
    match called.map_err(|error| format!("a trap: {error:?}"))? {
        Ok(()) => Ok(true),
        Err(Error::Busy) => Ok(false),
        Err(error) => Err(format!("an error: {error:?}")),
    }
}

/// Fails unless these owners, the first of which has the disk, and a new one see everything
/// that was answered. Returns the disk's image.
pub fn agree(owners: &mut [&mut Owner], unknown: u64) -> Result<Image, String> {
    let mut all = Contents::default();
    for owner in &mut *owners {
        let known = mem::take(&mut owner.run.contents);
        all.sessions.extend(known.sessions);
        all.ended.extend(known.ended);
    }
    let allowed = [all];
    let expected = |now| Expected {
        settings: SETTINGS,
        allowed: &allowed,
        now,
        seed: 5,
        has_no_times: false,
        unknown,
    };
    let mut baton = owners[0].world().hand_over();
    for owner in owners {
        let now = baton.now;
        owner.world().take_back(baton);
        let process = &mut owner.run.process;
        is_sound(process)?;
        expected(now).is_held(process)?;
        process
            .close()
            .map_err(|error| format!("a trap: {error:?}"))?;
        baton = owner.world().hand_over();
    }
    expected(baton.now + AFTERWARDS).is_held_by(baton.disk.seen.clone())?;
    Ok(baton.disk.seen)
}
