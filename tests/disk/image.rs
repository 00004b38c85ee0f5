//! A file system in memory, with directories and files, but without durability.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// The number of a file or directory.
pub type Node = u32;

/// The root directory.
pub const ROOT: Node = 0;

/// A name in a directory.
pub type Place = (Node, String);

/// The content of a disk. Copies share the contents of files until one is changed.
#[derive(Clone)]
pub struct Image {
    /// Files and directories, with or without a name.
    pub files: BTreeMap<Node, File>,
    /// The names in all directories.
    pub names: BTreeMap<Place, Node>,
}

/// A file or a directory.
#[derive(Clone, Default)]
pub struct File {
    /// The content; a directory has none.
    pub data: Arc<Vec<u8>>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// When it was last changed, in nanoseconds since the Unix epoch.
    pub modified: u64,
}

/// The result of an operation.
pub type Done<T = ()> = Result<T, ErrorCode>;

impl Default for Image {
    fn default() -> Self {
        let root = File {
            is_directory: true,
            ..File::default()
        };
        Self {
            files: BTreeMap::from([(ROOT, root)]),
            names: BTreeMap::new(),
        }
    }
}

impl Image {
    /// The file or directory with this number.
    pub fn file(&self, node: Node) -> Done<&File> {
        self.files.get(&node).ok_or(ErrorCode::BadDescriptor)
    }

    /// The file with this number, to change it.
    pub fn file_mut(&mut self, node: Node) -> Done<&mut File> {
        let file = self.files.get_mut(&node).ok_or(ErrorCode::BadDescriptor)?;
        match file.is_directory {
            false => Ok(file),
            true => Err(ErrorCode::IsDirectory),
        }
    }

    /// The file or directory at a path below a directory, if there is one. Fails if a parent
    /// directory is missing.
    pub fn find(&self, directory: Node, path: &str) -> Done<Option<Node>> {
        match self.place(directory, path)? {
            None => Ok(Some(directory)),
            Some(place) => Ok(self.names.get(&place).copied()),
        }
    }

    /// Like [`Image::find`], but fails if there is nothing.
    pub fn get(&self, directory: Node, path: &str) -> Done<Node> {
        self.find(directory, path)?.ok_or(ErrorCode::NoEntry)
    }

    /// Resolves a path to a directory and a name; `None` for the directory itself.
    pub fn place(&self, mut directory: Node, path: &str) -> Done<Option<Place>> {
        let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let Some(mut name) = parts.next() else {
            return Ok(None);
        };
        for next in parts {
            let place = (directory, name.to_owned());
            directory = *self.names.get(&place).ok_or(ErrorCode::NoEntry)?;
            if !self.file(directory)?.is_directory {
                return Err(ErrorCode::NotDirectory);
            }
            name = next;
        }
        Ok(Some((directory, name.to_owned())))
    }

    /// The names in a directory, with their files and directories.
    pub fn entries(&self, directory: Node) -> impl Iterator<Item = (&str, Node)> {
        self.names
            .range((directory, String::new())..(directory + 1, String::new()))
            .map(|((_, name), node)| (name.as_str(), *node))
    }

    /// The content of the file at a path in the root.
    pub fn content(&self, path: &str) -> Option<&Arc<Vec<u8>>> {
        let node = self.names.get(&(ROOT, path.to_owned()))?;
        Some(&self.files[node].data)
    }

    /// Puts a file at a path in the root; replaces an existing one.
    pub fn put(&mut self, path: &str, data: impl Into<Arc<Vec<u8>>>) {
        let node = 1 + *self.files.last_key_value().expect("there is a root").0;
        let file = File {
            data: data.into(),
            ..File::default()
        };
        self.files.insert(node, file);
        self.names.insert((ROOT, path.to_owned()), node);
    }
}
