//! A disk with what a program sees of it, and a log of all that was done to it, from
//! which [`crate::power`] builds what a loss of power leaves.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use crate::image::{Done, File, Image, Node, Place};

/// A disk in use.
pub struct Disk {
    /// What programs see: all that was written, durable or not.
    pub seen: Image,
    /// What was on the disk, and durable, when the log began.
    pub start: Image,
    /// What was done since.
    pub log: Vec<Operation>,
    next: Node,
}

/// Something that was done to a disk; `now` is the time, in nanoseconds since the Unix
/// epoch.
pub enum Operation {
    /// A file or directory was made, so far without a name.
    Make {
        node: Node,
        is_directory: bool,
        now: u64,
    },
    /// Bytes were written.
    Write {
        node: Node,
        offset: u64,
        data: Arc<Vec<u8>>,
        now: u64,
    },
    /// A file was cut or made longer.
    Resize { node: Node, size: u64, now: u64 },
    /// A name was given, in the place of what had it.
    Name { place: Place, node: Node },
    /// A name was removed.
    Unname { place: Place },
    /// A name was changed, in one step.
    Rename { from: Place, to: Place, node: Node },
    /// A file's data and size, or a directory's names, were made durable.
    Sync { node: Node },
    /// A sync failed. The system has dropped what it could not write: parts of it are
    /// on the disk, and a later sync writes none of the rest.
    FailedSync { node: Node },
    /// A request was answered.
    Answered { now: u64 },
}

impl Disk {
    /// A disk on which all of `image` is durable.
    pub fn new(image: Image) -> Self {
        let last = image.files.last_key_value().map_or(0, |(node, _)| *node);
        Self {
            seen: image.clone(),
            start: image,
            log: Vec::new(),
            next: last + 1,
        }
    }

    /// Reads at most `length` bytes.
    pub fn read(&self, node: Node, offset: u64, length: u64) -> Done<Vec<u8>> {
        let file = self.seen.file(node)?;
        if file.is_directory {
            return Err(ErrorCode::IsDirectory);
        }
        let size = file.data.len() as u64;
        let start = offset.min(size);
        let end = offset.saturating_add(length).min(size);
        Ok(file.data[start as usize..end as usize].to_vec())
    }

    /// Writes bytes.
    pub fn write(&mut self, node: Node, offset: u64, data: Vec<u8>, now: u64) -> Done {
        let file = self.seen.file_mut(node)?;
        file.modified = now;
        write(Arc::make_mut(&mut file.data), offset, &data);
        let data = Arc::new(data);
        self.log.push(Operation::Write {
            node,
            offset,
            data,
            now,
        });
        Ok(())
    }

    /// Cuts a file, or makes it longer with zeros.
    pub fn resize(&mut self, node: Node, size: u64, now: u64) -> Done {
        let file = self.seen.file_mut(node)?;
        file.modified = now;
        if file.data.len() as u64 != size {
            Arc::make_mut(&mut file.data).resize(size as usize, 0);
            self.log.push(Operation::Resize { node, size, now });
        }
        Ok(())
    }

    /// Makes a file or directory at a place that is free.
    pub fn make(&mut self, place: Place, is_directory: bool, now: u64) -> Node {
        let node = self.next;
        self.next += 1;
        let file = File {
            is_directory,
            modified: now,
            ..File::default()
        };
        self.seen.files.insert(node, file);
        self.changed(place.0, now);
        self.seen.names.insert(place.clone(), node);
        self.log.push(Operation::Make {
            node,
            is_directory,
            now,
        });
        self.log.push(Operation::Name { place, node });
        node
    }

    /// Removes a name: a file's, or that of a directory that is empty.
    pub fn remove(&mut self, place: Place, directory: bool, now: u64) -> Done {
        let node = *self.seen.names.get(&place).ok_or(ErrorCode::NoEntry)?;
        match (self.seen.file(node)?.is_directory, directory) {
            (false, true) => return Err(ErrorCode::NotDirectory),
            (true, false) => return Err(ErrorCode::IsDirectory),
            (true, true) if self.seen.entries(node).next().is_some() => {
                return Err(ErrorCode::NotEmpty);
            }
            _ => {}
        }
        self.seen.names.remove(&place);
        self.changed(place.0, now);
        self.log.push(Operation::Unname { place });
        Ok(())
    }

    /// Gives what has the name `from` the name `to`. This replaces a file, or a
    /// directory that is empty.
    pub fn rename(&mut self, from: Place, to: Place, now: u64) -> Done {
        let node = *self.seen.names.get(&from).ok_or(ErrorCode::NoEntry)?;
        if let Some(&replaced) = self.seen.names.get(&to) {
            let is_directory = |node| self.seen.file(node).map(|file| file.is_directory);
            match (is_directory(node)?, is_directory(replaced)?) {
                (true, false) => return Err(ErrorCode::NotDirectory),
                (false, true) => return Err(ErrorCode::IsDirectory),
                (true, true) if self.seen.entries(replaced).next().is_some() => {
                    return Err(ErrorCode::NotEmpty);
                }
                _ => {}
            }
        }
        self.seen.names.remove(&from);
        self.seen.names.insert(to.clone(), node);
        self.changed(from.0, now);
        self.changed(to.0, now);
        self.log.push(Operation::Rename { from, to, node });
        Ok(())
    }

    /// Makes a file's data and size, or a directory's names, durable.
    pub fn sync(&mut self, node: Node) -> Done {
        self.seen.file(node)?;
        self.log.push(Operation::Sync { node });
        Ok(())
    }

    /// Fails to sync.
    pub fn fail_to_sync(&mut self, node: Node) {
        self.log.push(Operation::FailedSync { node });
    }

    /// Sets the time of a file's last change.
    pub fn set_modified(&mut self, node: Node, now: u64) {
        self.changed(node, now);
    }

    fn changed(&mut self, node: Node, now: u64) {
        if let Some(file) = self.seen.files.get_mut(&node) {
            file.modified = now;
        }
    }
}

/// Writes bytes into a content, with zeros before them if it is shorter.
pub fn write(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = offset as usize;
    let end = start + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(data);
}
