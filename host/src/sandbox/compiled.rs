//! The component as machine code: compiled, or loaded from a cache that only its owner can
//! write.

use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;
use crate::sandbox::directories::create_private;

/// A component that the build script embedded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embedded {
    pub(crate) wasm: &'static [u8],
    /// A hash of `wasm`, made by the build script, since a start would take 1 to 2 ms
    /// longer if it computed one.
    pub(crate) fingerprint: &'static str,
}

/// Compiles a component, or loads it from the cache. `identity` tells it from all other
/// components: all of its bytes, or an embedded component's fingerprint.
///
/// If its entry is missing, damaged or from another engine, the component is compiled and
/// the entry is written again. A cache that cannot be read or written is no error.
pub(crate) fn compile(
    engine: &Engine,
    wasm: &[u8],
    identity: &[u8],
    cache: Option<&Cache>,
) -> wasmtime::Result<Component> {
    let Some(cache) = cache else {
        return Component::new(engine, wasm);
    };
    let key = key(engine, identity);
    if let Some(component) = cache.load(engine, &key) {
        return Ok(component);
    }
    let component = Component::new(engine, wasm)?;
    if let Ok(code) = component.serialize() {
        // If this fails, the next start compiles again.
        let _ = cache.write(&key, &code);
    }
    Ok(component)
}

/// A directory of compiled components that other users cannot write.
///
/// An entry is a file named after its key: the code, then the checksum of key and code. It
/// is mapped into memory, so that only the parts that run are loaded, and processes share
/// them. Entries are replaced as a whole and never removed, because other programs may use
/// them.
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Creates the cache's directory if it is missing. `None` if it cannot be used, or if
    /// other users could put their machine code into it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a cache inside one of `guests`, the directories that
    /// components can write: a component could leave the sandbox through the cache.
    pub(crate) fn open(
        directory: &Path,
        guests: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Result<Option<Self>, Error> {
        let usable = || -> io::Result<Option<PathBuf>> {
            create_private(directory)?;
            let directory = fs::canonicalize(directory)?;
            Ok(only_ours(&fs::metadata(&directory)?).then_some(directory))
        };
        let Ok(Some(directory)) = usable() else {
            return Ok(None);
        };
        let mut guests = guests.into_iter();
        if guests.any(|guest| directory.starts_with(guest)) {
            return Err(Error::InvalidArgument(
                "the cache directory must not be inside the store's directory".to_owned(),
            ));
        }
        Ok(Some(Self { directory }))
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.directory.join(hex::encode(key) + ".compiled")
    }

    fn load(&self, engine: &Engine, key: &Key) -> Option<Component> {
        let entry = self.entry(key);
        if !is_sound(&entry, key).ok()? {
            return None;
        }
        // SAFETY: the code was serialised by an engine with this version and
        // configuration, which are in the key. The checksum shows that it is undamaged, and
        // only this user or root can write it or its directory. Entries are replaced but
        // never changed, so the mapped file stays the same.
        unsafe { Component::deserialize_file(engine, entry) }.ok()
    }

    fn write(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.directory)?;
        let mut checksum = checksum(key);
        checksum.update(code);
        file.write_all(code)?;
        file.write_all(&checksum.finalize().to_le_bytes())?;
        file.persist(self.entry(key))?;
        Ok(())
    }
}

/// Whether the entry is undamaged, and no other user could have written it.
fn is_sound(entry: &Path, key: &Key) -> io::Result<bool> {
    let mut file = File::open(entry)?;
    let metadata = file.metadata()?;
    let Some(length) = metadata.len().checked_sub(CHECKSUM) else {
        return Ok(false);
    };
    let mut checksum = checksum(key);
    let mut piece = vec![0; 64 << 10];
    let mut code = (&mut file).take(length);
    loop {
        match code.read(&mut piece)? {
            0 => break,
            count => checksum.update(&piece[..count]),
        }
    }
    let mut expected = [0; CHECKSUM as usize];
    file.read_exact(&mut expected)?;
    Ok(only_ours(&metadata) && checksum.finalize().to_le_bytes() == expected)
}

type Key = [u8; 32];

/// The hash of the component's identity and of the engine's version and configuration.
fn key(engine: &Engine, identity: &[u8]) -> Key {
    let mut configuration = DefaultHasher::new();
    engine
        .precompile_compatibility_hash()
        .hash(&mut configuration);
    let hash = Sha256::new().chain_update(configuration.finish().to_le_bytes());
    hash.chain_update(identity).finalize().into()
}

/// The length of a checksum, in bytes.
const CHECKSUM: u64 = 4;

/// Starts the checksum of an entry with its key; the code follows. The checksum detects
/// damage only: an attacker who could change an entry could change its checksum too.
fn checksum(key: &Key) -> crc32fast::Hasher {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key);
    checksum
}

/// Whether only this user and root can write the file or directory.
#[cfg(unix)]
fn only_ours(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = metadata.uid();
    let trusted = owner == 0 || owner == rustix::process::geteuid().as_raw();
    trusted && metadata.mode() & 0o022 == 0
}

/// Not checked on other systems: the directory's owner sets its access list.
#[cfg(not(unix))]
fn only_ours(_: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Two of the smallest components: an empty one, and one with a custom section.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const OTHER: &[u8] = b"\0asm\x0d\0\x01\0\0\x02\x01x";

    struct Fixture {
        engine: Engine,
        home: TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                engine: Engine::default(),
                home: tempfile::tempdir().unwrap(),
            }
        }

        fn cache(&self) -> Cache {
            let guest = self.home.path().join("store");
            let cache = Cache::open(&self.home.path().join("cache"), Some(&guest));
            cache.unwrap().unwrap()
        }

        fn compile(&self, wasm: &[u8]) {
            compile(&self.engine, wasm, wasm, Some(&self.cache())).unwrap();
        }

        fn entry(&self, wasm: &[u8]) -> PathBuf {
            self.cache().entry(&key(&self.engine, wasm))
        }

        fn loads(&self, wasm: &[u8]) -> bool {
            let key = key(&self.engine, wasm);
            self.cache().load(&self.engine, &key).is_some()
        }

        /// Compiles, damages the entry, and expects it to be refused and rebuilt.
        fn damaged_entry_is_rebuilt(&self, damage: impl Fn(&mut Vec<u8>)) {
            self.compile(EMPTY);
            let sound = fs::read(self.entry(EMPTY)).unwrap();
            let mut damaged = sound.clone();
            damage(&mut damaged);
            fs::write(self.entry(EMPTY), damaged).unwrap();
            assert!(!self.loads(EMPTY));

            self.compile(EMPTY);
            assert!(self.loads(EMPTY));
        }
    }

    #[test]
    fn a_fresh_cache_is_filled_and_a_warm_one_is_used() {
        let fixture = Fixture::new();
        assert!(!fixture.loads(EMPTY));
        fixture.compile(EMPTY);
        assert!(fixture.loads(EMPTY));

        let written = fs::metadata(fixture.entry(EMPTY))
            .unwrap()
            .modified()
            .unwrap();
        fixture.compile(EMPTY);
        let now = fs::metadata(fixture.entry(EMPTY))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(now, written, "a warm entry is not written again");
    }

    #[test]
    fn a_truncated_entry_is_rebuilt() {
        Fixture::new().damaged_entry_is_rebuilt(|content| content.truncate(content.len() / 2));
        Fixture::new().damaged_entry_is_rebuilt(|content| content.truncate(3));
        Fixture::new().damaged_entry_is_rebuilt(Vec::clear);
    }

    #[test]
    fn an_entry_with_a_flipped_byte_is_rebuilt() {
        Fixture::new().damaged_entry_is_rebuilt(|content| content[0] ^= 1);
        Fixture::new().damaged_entry_is_rebuilt(|content| *content.last_mut().unwrap() ^= 1);
    }

    #[test]
    fn an_entry_of_another_component_is_rebuilt() {
        let fixture = Fixture::new();
        fixture.compile(OTHER);
        let foreign = fs::read(fixture.entry(OTHER)).unwrap();
        fixture.damaged_entry_is_rebuilt(|content| content.clone_from(&foreign));
    }

    #[test]
    fn an_engine_of_another_configuration_has_its_own_entry() {
        let mut fixture = Fixture::new();
        fixture.compile(EMPTY);
        let mut config = wasmtime::Config::new();
        config.cranelift_opt_level(wasmtime::OptLevel::None);
        fixture.engine = Engine::new(&config).unwrap();
        assert!(!fixture.loads(EMPTY));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_error() {
        let fixture = Fixture::new();
        let cache = fixture.cache();
        fs::remove_dir_all(&cache.directory).unwrap();
        compile(&fixture.engine, EMPTY, EMPTY, Some(&cache)).unwrap();

        let file = fixture.home.path().join("file");
        fs::write(&file, "").unwrap();
        let guest = fixture.home.path().join("store");
        assert!(Cache::open(&file, Some(&guest)).unwrap().is_none());
    }

    #[test]
    fn a_cache_that_the_component_can_write_is_refused() {
        let fixture = Fixture::new();
        let guest = fs::canonicalize(fixture.home.path()).unwrap();
        for inside in [guest.clone(), guest.join("cache"), guest.join("x/../y")] {
            match Cache::open(&inside, Some(&guest)) {
                Err(Error::InvalidArgument(_)) => {}
                _ => panic!("{}", inside.display()),
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_that_other_users_could_write_is_not_loaded() {
        use std::os::unix::fs::PermissionsExt;
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let fixture = Fixture::new();
        fixture.compile(EMPTY);
        let entry = fixture.entry(EMPTY);
        assert_eq!(
            fs::metadata(&entry).unwrap().permissions().mode() & 0o777,
            0o600
        );

        chmod(&entry, 0o622);
        assert!(!fixture.loads(EMPTY));
        chmod(&entry, 0o644);
        assert!(fixture.loads(EMPTY));

        let directory = fixture.cache().directory;
        let guest = fixture.home.path().join("store");
        chmod(&directory, 0o770);
        assert!(Cache::open(&directory, Some(&guest)).unwrap().is_none());
        chmod(&directory, 0o755);
        assert!(Cache::open(&directory, Some(&guest)).unwrap().is_some());
    }
}
