//! A disk: its content as programs see it, and a log of all operations on it, from which
//! [`crate::power`] derives the disk after a power failure.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use crate::image::{Done, File, Image, Node, Place};

/// A disk in use.
pub struct Disk {
    /// The content as programs see it: everything that was written, durable or not.
    pub seen: Image,
    /// The durable content at the start of the log.
    pub start: Image,
    /// The operations since then.
    pub log: Vec<Operation>,
    next: Node,
}

/// An operation on a disk. `now` is its time, in nanoseconds since the Unix epoch.
pub enum Operation {
    /// A file or directory was created, without a name so far.
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
    /// A file was truncated or extended.
    Resize { node: Node, size: u64, now: u64 },
    /// A name was given to a file or directory; a file that had the name lost it.
    Name { place: Place, node: Node },
    /// A name was removed.
    Unname { place: Place },
    /// A name was changed, in one step.
    Rename { from: Place, to: Place, node: Node },
    /// A file's data and size, or a directory's names, were made durable.
    Sync { node: Node },
    /// A sync failed. The system has dropped the data that it could not write: some of it is
    /// on the disk, and a later sync does not write the rest.
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

    /// Truncates a file, or extends it with zeros.
    pub fn resize(&mut self, node: Node, size: u64, now: u64) -> Done {
        let file = self.seen.file_mut(node)?;
        file.modified = now;
        if file.data.len() as u64 != size {
            Arc::make_mut(&mut file.data).resize(size as usize, 0);
            self.log.push(Operation::Resize { node, size, now });
        }
        Ok(())
    }

    /// Creates a file or directory with a name that is free.
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

    /// Removes the name of a file or of an empty directory.
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

    /// Renames `from` to `to`. This replaces a file or an empty directory.
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

    /// Records a sync that failed.
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

/// Writes bytes into a content, which is first extended with zeros if it is too short.
pub fn write(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = offset as usize;
    let end = start + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(data);
}
