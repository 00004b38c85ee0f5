//! The world of an instance of the component: its disk, clock, randomness and memory, and its
//! calls of the file system.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, MetadataHashValue, OpenFlags,
};

use crate::disk::Disk;
use crate::faults::{Call, Fault, Faults};
use crate::image::{Done, Node};
use crate::memory::Memory;
use crate::random::Random;
use crate::stops::Stop;

/// The world of an instance of the component.
pub struct World {
    /// Its disk.
    pub disk: Disk,
    /// The faults of that disk.
    pub faults: Faults,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
    /// Its randomness.
    pub random: Random,
    /// Its memory.
    pub memory: Memory,
    /// When it is stopped, if it is.
    pub stop: Option<Stop>,
    /// The resources to which it has handles.
    pub table: ResourceTable,
}

impl World {
    /// A world with this disk, at this time.
    pub fn new(disk: Disk, now: u64, seed: u64) -> Self {
        Self {
            disk,
            faults: Faults::default(),
            now,
            random: Random::new(seed),
            memory: Memory::default(),
            stop: None,
            table: ResourceTable::new(),
        }
    }
}

/// The entries of a directory that were not read yet.
pub struct Entries(pub Vec<DirectoryEntry>);

impl World {
    /// Reads at most `length` bytes.
    pub fn read(&mut self, node: Node, offset: u64, length: u64) -> Done<Vec<u8>> {
        let fault = self.faults.meet(Call::Read);
        match fault {
            None => self.disk.read(node, offset, length),
            Some(Fault::ShortRead) => {
                let mut data = self.disk.read(node, offset, length)?;
                data.truncate(data.len().div_ceil(2));
                Ok(data)
            }
            Some(fault) => Err(fault.code()),
        }
    }

    /// Writes bytes; returns how many.
    pub fn write(&mut self, node: Node, offset: u64, mut data: Vec<u8>) -> Done<u64> {
        let fault = self.faults.meet(Call::Write);
        if fault.is_some() {
            data.truncate(data.len().div_ceil(2));
        }
        let length = data.len() as u64;
        self.disk.write(node, offset, data, self.now)?;
        match fault {
            None | Some(Fault::ShortWrite) => Ok(length),
            Some(fault) => Err(fault.code()),
        }
    }

    /// Syncs a file or directory.
    pub fn sync(&mut self, node: Node) -> Done {
        match self.faults.meet(Call::Sync) {
            None => self.disk.sync(node),
            Some(fault) => {
                self.disk.fail_to_sync(node);
                Err(fault.code())
            }
        }
    }

    /// Opens or creates the file or directory at a path.
    pub fn open(&mut self, directory: Node, path: &str, how: OpenFlags) -> Done<Node> {
        let found = self.disk.seen.find(directory, path)?;
        let makes = how.contains(OpenFlags::CREATE) && found.is_none();
        self.unless(if makes { Call::Make } else { Call::Other })?;
        let Some(node) = found else {
            if !makes {
                return Err(ErrorCode::NoEntry);
            }
            let place = self.disk.seen.place(directory, path)?;
            let place = place.ok_or(ErrorCode::IsDirectory)?;
            return Ok(self.disk.make(place, false, self.now));
        };
        if how.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist);
        }
        if how.contains(OpenFlags::DIRECTORY) && !self.disk.seen.file(node)?.is_directory {
            return Err(ErrorCode::NotDirectory);
        }
        if how.contains(OpenFlags::TRUNCATE) {
            self.disk.resize(node, 0, self.now)?;
        }
        Ok(node)
    }

    /// Fails if a fault concerns this call.
    pub fn unless(&mut self, call: Call) -> Done {
        self.faults
            .meet(call)
            .map_or(Ok(()), |fault| Err(fault.code()))
    }

    /// Describes a file or directory.
    pub fn stat(&self, node: Node) -> Done<DescriptorStat> {
        let file = self.disk.seen.file(node)?;
        let modified = Some(time(file.modified));
        Ok(DescriptorStat {
            type_: kind(file.is_directory),
            link_count: 1,
            size: file.data.len() as u64,
            data_access_timestamp: modified,
            data_modification_timestamp: modified,
            status_change_timestamp: modified,
        })
    }

    /// The names in a directory.
    pub fn entries(&self, node: Node) -> Done<Entries> {
        let image = &self.disk.seen;
        let entries = image.entries(node).map(|(name, node)| {
            Ok(DirectoryEntry {
                type_: kind(image.file(node)?.is_directory),
                name: name.to_owned(),
            })
        });
        Ok(Entries(entries.collect::<Done<_>>()?))
    }
}

impl Fault {
    fn code(self) -> ErrorCode {
        match self {
            Self::NoSpace => ErrorCode::InsufficientSpace,
            _ => ErrorCode::Io,
        }
    }
}

fn kind(is_directory: bool) -> DescriptorType {
    match is_directory {
        true => DescriptorType::Directory,
        false => DescriptorType::RegularFile,
    }
}

/// A hash that is different for each file.
pub fn hash(node: Node) -> MetadataHashValue {
    MetadataHashValue {
        lower: node.into(),
        upper: 0,
    }
}

/// The time in WASI's form.
pub fn time(nanoseconds: u64) -> Datetime {
    Datetime {
        seconds: nanoseconds / 1_000_000_000,
        nanoseconds: (nanoseconds % 1_000_000_000) as u32,
    }
}
