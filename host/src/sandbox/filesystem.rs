//! Functions of WASI that the host replaces, by which the component opens, writes and syncs
//! files: over plain WASI a component cannot choose permissions, cannot be given another
//! directory later, and does not report when its next checkpoint is due.

use std::fs::File;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as Preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Filesize, Host, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::sandbox::guest_files::GuestFiles;
use crate::sandbox::state::{State, complete};

/// The interfaces whose functions are replaced, with the version that wasmtime-wasi has. With
/// another version no component would import the replacements, so the launcher checks that
/// the database was opened through them.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";

/// Replaces functions of WASI.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(PREOPENS)?.func_wrap(
        "get-directories",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            let state = store.data_mut();
            let directories = Preopens::get_directories(&mut state.filesystem())?;
            let backup = |(_, path): &&(_, String)| path == GuestFiles::BACKUP;
            let backup = directories.iter().find(backup);
            state
                .files
                .note_backup(backup.map(|(descriptor, _)| descriptor.rep()));
            Ok((directories,))
        },
    )?;
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>, arguments: OpenAt| {
            let state = store.data_mut();
            let opened = open_at(state, arguments);
            answer(state, opened)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write",
        |mut store: StoreContextMut<'_, State>, arguments: Write| {
            let state = store.data_mut();
            let written = write(state, arguments);
            answer(state, written)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.sync",
        |mut store: StoreContextMut<'_, State>, (file,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let synced = complete(state.filesystem().sync(file));
            state.files.note_sync(synced.is_ok());
            answer(state, synced)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.sync-data",
        |mut store: StoreContextMut<'_, State>, (file,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let synced = complete(state.filesystem().sync_data(file));
            state.files.note_sync(synced.is_ok());
            answer(state, synced)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The result of WASI's functions; the outer error is a trap.
type Answered<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

fn answer<T>(state: &mut State, done: FsResult<T>) -> Answered<T> {
    Ok((match done {
        Ok(done) => Ok(done),
        Err(error) => Err(Host::convert_error_code(&mut state.filesystem(), error)?),
    },))
}

type Write = (Resource<Descriptor>, Vec<u8>, Filesize);

/// Writes as WASI does, and records what is written.
fn write(state: &mut State, (file, data, offset): Write) -> FsResult<Filesize> {
    if let Descriptor::File(file) = state.table.get(&file)? {
        state.files.note_write(&file.file, &data, offset);
    }
    let written = complete(state.filesystem().write(file, data, offset));
    state.files.note_written(written.is_ok());
    written
}

type OpenAt = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

/// Opens a file as WASI does, but follows no link, and creates a missing file with
/// the right permissions from the start.
fn open_at(
    state: &mut State,
    (directory, _, path, mut how, access): OpenAt,
) -> FsResult<Resource<Descriptor>> {
    #[cfg(unix)]
    if how.contains(OpenFlags::CREATE) {
        let made = create(state, &directory, &path)?;
        if !made && how.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist.into());
        }
        how &= !(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
    }
    let mut filesystem = state.filesystem();
    let follow = PathFlags::empty();
    let opened = filesystem.open_at(directory, follow, path.clone(), how, access);
    let opened = complete(opened)?;
    if let Descriptor::File(file) = filesystem.table.get(&opened)? {
        let file = file.file.clone();
        state.files.note_open(&path, &file);
    }
    Ok(opened)
}

/// Creates a file unless it exists; returns whether it did. The file must be
/// directly in a directory that was given to the component.
#[cfg(unix)]
fn create(state: &mut State, directory: &Resource<Descriptor>, path: &str) -> FsResult<bool> {
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::Errno;

    let mode = Mode::from_raw_mode(state.files.mode() as _);
    let filesystem = state.filesystem();
    let Descriptor::Dir(directory) = filesystem.table.get(directory)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    if directory.perms.write_not_permitted() || !is_plain(path) {
        return Err(ErrorCode::NotPermitted.into());
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&directory.dir, path, flags, mode) {
        Ok(_file) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

#[cfg(unix)]
fn is_plain(path: &str) -> bool {
    use std::path::{Component, Path};
    let mut components = Path::new(path).components();
    components.next() == Some(Component::Normal(path.as_ref())) && !path.contains('\0')
}

/// Makes of `directory` one that the component may write while it makes a backup.
pub(crate) fn lend(directory: File) -> Dir {
    let read_write = OpenMode::READ | OpenMode::WRITE;
    // As for the preopened directories: file operations block the thread.
    let blocks = true;
    Dir::new(directory, FsPerms::ReadWrite, read_write, blocks)
}
