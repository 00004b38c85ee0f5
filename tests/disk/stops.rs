//! Stops of an instance, as of a process that is stopped and continued, at any of its calls
//! of the file system and at the end of any sleep.
//!
//! A stop is before or after a call. Only a call that changes the database or its journal
//! has none before it: there the component has already seen that it holds its lock, and no
//! lock that can be taken over helps if the call itself is late.

use std::mem;

use crate::disk::Disk;
use crate::image::{Image, Node, ROOT};
use crate::process::DATABASE;
use crate::world::World;

/// A stop of an instance.
pub struct Stop {
    /// How many points at which it could be stopped it passes before.
    pub after: u64,
    /// What happens while it is stopped.
    pub meanwhile: Box<dyn FnOnce(&mut World) + Send>,
}

/// What only one instance can have at a time: the disk that all use, and the time.
pub struct Baton {
    /// The disk.
    pub disk: Disk,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
}

impl World {
    /// A point at which the instance can be stopped.
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

    /// Like [`World::pass`], before a call that changes a file or removes its name.
    pub fn pass_before_change(&mut self, node: Node) {
        let journal = format!("{DATABASE}-journal");
        let is_at = |name: &str| self.disk.seen.find(ROOT, name) == Ok(Some(node));
        if !is_at(DATABASE) && !is_at(&journal) {
            self.pass();
        }
    }

    /// Gives the disk away. Until it is back the instance must not run.
    pub fn hand_over(&mut self) -> Baton {
        let nothing = Disk::new(Image::default());
        Baton {
            disk: mem::replace(&mut self.disk, nothing),
            now: self.now,
        }
    }

    /// Takes the disk back.
    pub fn take_back(&mut self, baton: Baton) {
        (self.disk, self.now) = (baton.disk, baton.now);
    }
}
