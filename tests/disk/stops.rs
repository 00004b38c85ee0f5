//! Stops an instance, as SIGSTOP and SIGCONT stop and continue a process, at any of its calls
//! of the file system and at the end of any sleep.
//!
//! A stop is before or after a call. Only before a call that changes the database or its
//! journal there is none: at that point the component has already checked that it holds its
//! lock, and a lease cannot protect from a call that is itself late.

use std::mem;

use crate::disk::Disk;
use crate::image::{Image, Node, ROOT};
use crate::process::DATABASE;
use crate::world::World;

/// A stop of an instance.
pub struct Stop {
    /// How many points the instance passes before it stops at one; see [`World::pass`].
    pub after: u64,
    /// What happens while it is stopped.
    pub meanwhile: Box<dyn FnOnce(&mut World) + Send>,
}

/// The disk and the time of all instances. Only the instance that has them runs.
pub struct Baton {
    /// The disk.
    pub disk: Disk,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
}

impl World {
    /// A point at which the instance can be stopped: counts it, and stops there if it is the
    /// chosen one.
    pub fn pass(&mut self) {
        match &mut self.stop {
            Some(stop) if stop.after == 0 => {}
            Some(stop) => {
                stop.after -= 1;
                return;
            }
            None => return,
        }
        if let Some(stop) = self.stop.take() {
            (stop.meanwhile)(self);
        }
    }

    /// Like [`World::pass`], before a call that changes a file or removes its name; does
    /// nothing for the database and its journal.
    pub fn pass_before_change(&mut self, node: Node) {
        let journal = format!("{DATABASE}-journal");
        let is_at = |name: &str| self.disk.seen.find(ROOT, name) == Ok(Some(node));
        if !is_at(DATABASE) && !is_at(&journal) {
            self.pass();
        }
    }

    /// Gives away the disk and the time. The instance must not run until it has them back.
    pub fn hand_over(&mut self) -> Baton {
        let nothing = Disk::new(Image::default());
        Baton {
            disk: mem::replace(&mut self.disk, nothing),
            now: self.now,
        }
    }

    /// Takes the disk and the time.
    pub fn take_back(&mut self, baton: Baton) {
        (self.disk, self.now) = (baton.disk, baton.now);
    }
}
