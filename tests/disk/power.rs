//! A model of a disk after a power failure.
//!
//! Synced operations are durable. Of the others the disk may have any part: of data any set
//! of 512-byte sectors, independent of the order in which they were written; of a file's
//! sizes any one that it had; of a directory's changes any set, or all up to one of them.
//! If a file was extended and the data did not arrive, it has zeros or garbage there. Space
//! that a truncation has freed is not written before the truncation is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{Operation, write};
use crate::image::{File, Image, Node, Place};
use crate::random::Random;

/// The number of bytes that a disk writes atomically.
pub const SECTOR: usize = 512;

/// A disk at a point of its log: its durable content, and the operations that are not
/// durable.
pub struct Progress<'a> {
    durable: Image,
    data: BTreeMap<Node, Vec<&'a Operation>>,
    names: BTreeMap<Node, Vec<&'a Operation>>,
    random: Random,
    now: u64,
}

/// Which of the unsynced operations are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// A random part.
    Part,
}

/// Which of a file's or directory's unsynced operations arrived.
enum Arrival {
    /// Those before this one, and half of this one.
    Until(usize),
    /// A random part, of this many eighths.
    Some(u64),
}

impl<'a> Progress<'a> {
    /// A disk before the first operation of its log.
    pub fn new(start: &Image, seed: u64) -> Self {
        Self {
            durable: start.clone(),
            data: BTreeMap::new(),
            names: BTreeMap::new(),
            random: Random::new(seed),
            now: 0,
        }
    }

    /// Applies the next operation of the log.
    pub fn pass(&mut self, operation: &'a Operation) {
        match operation {
            Operation::Make {
                node,
                is_directory,
                now,
            } => {
                self.now = *now;
                let file = File {
                    is_directory: *is_directory,
                    modified: *now,
                    ..File::default()
                };
                self.durable.files.insert(*node, file);
            }
            Operation::Write { node, now, .. } | Operation::Resize { node, now, .. } => {
                self.now = *now;
                self.data.entry(*node).or_default().push(operation);
            }
            Operation::Name { place, .. }
            | Operation::Unname { place }
            | Operation::Rename { to: place, .. } => {
                self.names.entry(place.0).or_default().push(operation);
            }
            Operation::Sync { node } => self.sync(*node),
            Operation::FailedSync { node } => self.fail_to_sync(*node),
            Operation::Answered { now } => self.now = *now,
        }
    }

    fn sync(&mut self, node: Node) {
        if let Some(operations) = self.data.remove(&node) {
            let file = file_mut(&mut self.durable, node);
            arrive(file, &operations, &Arrival::Some(8), &mut self.random);
        }
        for operation in self.names.remove(&node).into_iter().flatten() {
            rename(&mut self.durable, operation);
        }
    }

    /// Drops the unsynced data: what has not arrived is lost unless it is written again.
    fn fail_to_sync(&mut self, node: Node) {
        if let Some(operations) = self.data.remove(&node) {
            let arrival = Arrival::Some(self.random.below(9) as u64);
            let file = file_mut(&mut self.durable, node);
            arrive(file, &operations, &arrival, &mut self.random);
        }
    }

    /// The time of the last operation.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The disk after a power failure at this point.
    pub fn cut(&self, left: Left, random: &mut Random) -> Image {
        let mut image = self.durable.clone();
        for (node, operations) in &self.data {
            let arrival = arrival(left, operations.len(), random);
            arrive(file_mut(&mut image, *node), operations, &arrival, random);
        }
        for operations in self.names.values() {
            let arrival = arrival(left, operations.len(), random);
            for (number, operation) in operations.iter().enumerate() {
                let arrives = match arrival {
                    Arrival::Until(end) => number < end,
                    Arrival::Some(of_eight) => random.chance(of_eight, 8),
                };
                if arrives {
                    rename(&mut image, operation);
                }
            }
        }
        image
    }
}

fn arrival(left: Left, operations: usize, random: &mut Random) -> Arrival {
    match left {
        Left::Nothing => Arrival::Some(0),
        Left::Everything => Arrival::Some(8),
        Left::Part if random.chance(1, 3) => Arrival::Until(random.below(operations + 1)),
        Left::Part => Arrival::Some(random.below(9) as u64),
    }
}

fn file_mut(image: &mut Image, node: Node) -> &mut File {
    image.files.get_mut(&node).expect("a file that was made")
}

/// Applies an operation on names. The file or directory may have lost its name already.
fn rename(image: &mut Image, operation: &Operation) {
    let mut put = |place: &Place, node| image.names.insert(place.clone(), node);
    match operation {
        Operation::Name { place, node } => {
            put(place, *node);
        }
        Operation::Rename { from, to, node } => {
            put(to, *node);
            if image.names.get(from) == Some(node) {
                image.names.remove(from);
            }
        }
        Operation::Unname { place } => {
            image.names.remove(place);
        }
        _ => {}
    }
}

/// Applies the part of `operations` that arrives to a file.
fn arrive(file: &mut File, operations: &[&Operation], arrival: &Arrival, random: &mut Random) {
    let changes = operations.len();
    // Sizes become durable in order.
    let sizes = match *arrival {
        Arrival::Until(end) => end,
        Arrival::Some(0) => 0,
        Arrival::Some(8) => changes,
        Arrival::Some(_) => random.below(changes + 1),
    };
    let data = Arc::make_mut(&mut file.data);
    let mut size = data.len();
    let mut seen = size;
    // The start of the space freed by truncations that are not durable.
    let mut freed = usize::MAX;
    let garbage = random.chance(1, 2);
    let mut fill = random.clone();
    for (number, operation) in operations.iter().enumerate() {
        if let Operation::Write { now, .. } | Operation::Resize { now, .. } = operation {
            file.modified = *now;
        }
        let is_durable = number < sizes;
        match operation {
            Operation::Resize { size: to, .. } => {
                let to = *to as usize;
                if is_durable {
                    size = to;
                    data.truncate(to);
                } else if to < seen {
                    freed = freed.min(to);
                }
                seen = to;
            }
            Operation::Write {
                offset,
                data: written,
                ..
            } => {
                let start = *offset as usize;
                let end = start + written.len();
                for sector in start / SECTOR..end.div_ceil(SECTOR) {
                    let from = start.max(sector * SECTOR);
                    let to = end.min((sector + 1) * SECTOR).min(freed);
                    let arrives = match *arrival {
                        Arrival::Until(last) if number == last => random.chance(1, 2),
                        Arrival::Until(last) => number < last,
                        Arrival::Some(of_eight) => random.chance(of_eight, 8),
                    };
                    if arrives && from < to {
                        extend(data, from, garbage, &mut fill);
                        write(data, from as u64, &written[from - start..to - start]);
                    }
                }
                seen = seen.max(end);
                if is_durable {
                    size = size.max(end);
                }
            }
            _ => {}
        }
    }
    extend(data, size, garbage, &mut fill);
    data.truncate(size);
}

/// Extends a content, with zeros or with garbage.
fn extend(data: &mut Vec<u8>, size: usize, garbage: bool, fill: &mut Random) {
    let before = data.len();
    if before < size {
        data.resize(size, 0);
        if garbage {
            fill.fill(&mut data[before..]);
        }
    }
}
