//! WASI in memory: the functions that the component imports, over a [`World`] with a disk, a
//! clock that moves only when it is set, and random numbers from a seed.

use wasmtime::Result;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};

use crate::faults::Call;
use crate::image::{Node, ROOT};
use crate::resources::{Of, Pollable, resource};
use crate::streams::{self, Failure, Stream};
use crate::world::{Entries, World, hash, time};

/// An open file or directory.
struct Descriptor(Node);

/// A terminal, of which there is none.
struct Terminal;

/// Links all functions.
pub fn add_to_linker(linker: &mut Linker<World>) -> Result<()> {
    descriptors(&mut linker.instance("wasi:filesystem/types@0.2.12")?)?;
    paths(&mut linker.instance("wasi:filesystem/types@0.2.12")?)?;
    linker
        .instance("wasi:filesystem/preopens@0.2.12")?
        .func_wrap("get-directories", |mut of: Of, (): ()| {
            let root = of.data_mut().table.push(Descriptor(ROOT))?;
            Ok((vec![(root, "/".to_owned())],))
        })?;
    resource::<Failure>(&mut linker.instance("wasi:io/error@0.2.12")?, "error")?;
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    resource::<Pollable>(&mut poll, "pollable")?;
    poll.func_wrap(
        "[method]pollable.block",
        |mut of: Of, _: (Resource<Pollable>,)| {
            of.data_mut().pass();
            Ok(())
        },
    )?;
    streams::link(&mut linker.instance("wasi:io/streams@0.2.12")?)?;
    clocks(linker)?;
    linker
        .instance("wasi:random/random@0.2.12")?
        .func_wrap("get-random-u64", |mut of: Of, (): ()| {
            Ok((of.data_mut().random.next(),))
        })?;
    linker
        .instance("wasi:random/insecure-seed@0.2.12")?
        .func_wrap("insecure-seed", |mut of: Of, (): ()| {
            let random = &mut of.data_mut().random;
            Ok(((random.next(), random.next()),))
        })?;
    command_line(linker)
}

/// An instance has no arguments, no environment, no streams and no terminal.
fn command_line(linker: &mut Linker<World>) -> Result<()> {
    linker
        .instance("wasi:cli/environment@0.2.12")?
        .func_wrap("get-environment", |_: Of, (): ()| {
            Ok((Vec::<(String, String)>::new(),))
        })?;
    linker.instance("wasi:cli/exit@0.2.12")?.func_wrap(
        "exit",
        |_: Of, _: (std::result::Result<(), ()>,)| {
            Err::<(), _>(wasmtime::Error::msg("the component exits"))
        },
    )?;
    for name in ["stdin", "stdout", "stderr"] {
        linker
            .instance(&format!("wasi:cli/{name}@0.2.12"))?
            .func_wrap(&format!("get-{name}"), |_: Of, (): ()| {
                Err::<(Resource<Stream>,), _>(wasmtime::Error::msg("there is no stream"))
            })?;
        let terminal = format!("wasi:cli/terminal-{name}@0.2.12");
        linker
            .instance(&terminal)?
            .func_wrap(&format!("get-terminal-{name}"), |_: Of, (): ()| {
                Ok((None::<Resource<Terminal>>,))
            })?;
    }
    for name in ["terminal-input", "terminal-output"] {
        let mut terminal = linker.instance(&format!("wasi:cli/{name}@0.2.12"))?;
        resource::<Terminal>(&mut terminal, name)?;
    }
    Ok(())
}

/// Functions of open files.
fn descriptors(types: &mut LinkerInstance<World>) -> Result<()> {
    resource::<Descriptor>(types, "descriptor")?;
    resource::<Entries>(types, "directory-entry-stream")?;
    types.func_wrap(
        "[method]descriptor.read",
        |mut of: Of, (file, length, offset): (Resource<Descriptor>, u64, u64)| {
            let (world, node) = file_of(&mut of, &file)?;
            let read = world.read(node, offset, length);
            let read = read.map(|data| {
                let is_end = data.is_empty() && length > 0;
                (data, is_end)
            });
            done(world, read)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write",
        |mut of: Of, (file, data, offset): (Resource<Descriptor>, Vec<u8>, u64)| {
            let (world, node) = file_to_change(&mut of, &file)?;
            let written = world.write(node, offset, data);
            done(world, written)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.set-size",
        |mut of: Of, (file, size): (Resource<Descriptor>, u64)| {
            let (world, node) = file_to_change(&mut of, &file)?;
            let is_longer = |world: &World| {
                let file = world.disk.seen.file(node);
                file.is_ok_and(|file| size > file.data.len() as u64)
            };
            let call = if is_longer(world) {
                Call::Make
            } else {
                Call::Other
            };
            let now = world.now;
            let resized = world
                .unless(call)
                .and_then(|()| world.disk.resize(node, size, now));
            done(world, resized)
        },
    )?;
    for name in ["[method]descriptor.sync", "[method]descriptor.sync-data"] {
        types.func_wrap(name, |mut of: Of, (file,): (Resource<Descriptor>,)| {
            let (world, node) = file_of(&mut of, &file)?;
            let synced = world.sync(node);
            done(world, synced)
        })?;
    }
    types.func_wrap(
        "[method]descriptor.get-flags",
        |_: Of, _: (Resource<Descriptor>,)| {
            let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
            Ok((Ok::<_, ErrorCode>(
                flags | DescriptorFlags::MUTATE_DIRECTORY,
            ),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.stat",
        |mut of: Of, (file,): (Resource<Descriptor>,)| {
            let (world, node) = file_of(&mut of, &file)?;
            let found = world.unless(Call::Other).and_then(|()| world.stat(node));
            done(world, found)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.metadata-hash",
        |mut of: Of, (file,): (Resource<Descriptor>,)| {
            let (_, node) = file_of(&mut of, &file)?;
            Ok((Ok::<_, ErrorCode>(hash(node)),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-directory",
        |mut of: Of, (file,): (Resource<Descriptor>,)| {
            let (world, node) = file_of(&mut of, &file)?;
            let entries = world.unless(Call::Other).and_then(|()| world.entries(node));
            let entries = match entries {
                Ok(entries) => Ok(world.table.push(entries)?),
                Err(error) => Err(error),
            };
            done(world, entries)
        },
    )?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut of: Of, (entries,): (Resource<Entries>,)| {
            let entries = of.data_mut().table.get_mut(&entries)?;
            Ok((Ok::<_, ErrorCode>(entries.0.pop()),))
        },
    )?;
    for name in [
        "[method]descriptor.read-via-stream",
        "[method]descriptor.write-via-stream",
    ] {
        types.func_wrap(
            name,
            |mut of: Of, (file, offset): (Resource<Descriptor>, u64)| {
                let (world, node) = file_to_change(&mut of, &file)?;
                let stream = world.table.push(Stream { node, offset })?;
                Ok((Ok::<_, ErrorCode>(stream),))
            },
        )?;
    }
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut of: Of, (file,): (Resource<Descriptor>,)| {
            let (world, node) = file_to_change(&mut of, &file)?;
            let offset = world
                .disk
                .seen
                .file(node)
                .map(|file| file.data.len() as u64);
            Ok((match offset {
                Ok(offset) => Ok(world.table.push(Stream { node, offset })?),
                Err(error) => Err(error),
            },))
        },
    )
}

/// Functions of paths.
fn paths(types: &mut LinkerInstance<World>) -> Result<()> {
    type At = (Resource<Descriptor>, String);
    type Open = (
        Resource<Descriptor>,
        PathFlags,
        String,
        OpenFlags,
        DescriptorFlags,
    );
    types.func_wrap(
        "[method]descriptor.open-at",
        |mut of: Of, (directory, _, path, how, _): Open| {
            let (world, directory) = file_of(&mut of, &directory)?;
            let opened = match world.open(directory, &path, how) {
                Ok(node) => Ok(world.table.push(Descriptor(node))?),
                Err(error) => Err(error),
            };
            done(world, opened)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.create-directory-at",
        |mut of: Of, (directory, path): At| {
            let (world, directory) = file_of(&mut of, &directory)?;
            let made = world.unless(Call::Make).and_then(|()| {
                let image = &world.disk.seen;
                let place = image.place(directory, &path)?.ok_or(ErrorCode::Exist)?;
                if image.names.contains_key(&place) {
                    return Err(ErrorCode::Exist);
                }
                world.disk.make(place, true, world.now);
                Ok(())
            });
            done(world, made)
        },
    )?;
    for (name, is_directory) in [
        ("[method]descriptor.unlink-file-at", false),
        ("[method]descriptor.remove-directory-at", true),
    ] {
        types.func_wrap(name, move |mut of: Of, (directory, path): At| {
            let world = of.data_mut();
            let directory = world.file(&directory)?;
            if let Ok(Some(node)) = world.disk.seen.find(directory, &path) {
                world.pass_before_change(node);
            }
            let removed = world.unless(Call::Other).and_then(|()| {
                let place = world.disk.seen.place(directory, &path)?;
                let place = place.ok_or(ErrorCode::Busy)?;
                world.disk.remove(place, is_directory, world.now)
            });
            done(world, removed)
        })?;
    }
    type Rename = (Resource<Descriptor>, String, Resource<Descriptor>, String);
    types.func_wrap(
        "[method]descriptor.rename-at",
        |mut of: Of, (from, path, to, new): Rename| {
            let (_, to) = file_of(&mut of, &to)?;
            let (world, from) = file_of(&mut of, &from)?;
            let renamed = world.unless(Call::Other).and_then(|()| {
                let from = world.disk.seen.place(from, &path)?.ok_or(ErrorCode::Busy)?;
                let to = world.disk.seen.place(to, &new)?.ok_or(ErrorCode::Busy)?;
                world.disk.rename(from, to, world.now)
            });
            done(world, renamed)
        },
    )?;
    type Look = (Resource<Descriptor>, PathFlags, String);
    types.func_wrap(
        "[method]descriptor.stat-at",
        |mut of: Of, (directory, _, path): Look| {
            let (world, directory) = file_of(&mut of, &directory)?;
            let found = world.unless(Call::Other).and_then(|()| {
                let node = world.disk.seen.get(directory, &path)?;
                world.stat(node)
            });
            done(world, found)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.metadata-hash-at",
        |mut of: Of, (directory, _, path): Look| {
            let (world, directory) = file_of(&mut of, &directory)?;
            Ok((world.disk.seen.get(directory, &path).map(hash),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.readlink-at",
        |mut of: Of, (directory, path): At| {
            let (world, directory) = file_of(&mut of, &directory)?;
            let found = world.disk.seen.get(directory, &path);
            Ok((found.and(Err::<String, _>(ErrorCode::Invalid)),))
        },
    )?;
    type Times = (
        Resource<Descriptor>,
        PathFlags,
        String,
        NewTimestamp,
        NewTimestamp,
    );
    types.func_wrap(
        "[method]descriptor.set-times-at",
        |mut of: Of, (directory, _, path, _, modified): Times| {
            let (world, directory) = file_of(&mut of, &directory)?;
            let now = match modified {
                NewTimestamp::NoChange => return Ok((Ok(()),)),
                NewTimestamp::Now => world.now,
                NewTimestamp::Timestamp(time) => {
                    time.seconds * 1_000_000_000 + u64::from(time.nanoseconds)
                }
            };
            let found = world.disk.seen.get(directory, &path);
            let set = found.map(|node| world.disk.set_modified(node, now));
            done(world, set)
        },
    )
}

/// Links both clocks, which show the same time. Reading the monotonic clock advances the time
/// by a microsecond, and waiting advances it by the time to wait.
fn clocks(linker: &mut Linker<World>) -> Result<()> {
    linker
        .instance("wasi:clocks/wall-clock@0.2.12")?
        .func_wrap("now", |of: Of, (): ()| Ok((time(of.data().now),)))?;
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap("now", |mut of: Of, (): ()| {
        of.data_mut().now += 1000;
        Ok((of.data().now,))
    })?;
    clock.func_wrap("subscribe-instant", |mut of: Of, (when,): (u64,)| {
        let world = of.data_mut();
        world.now = world.now.max(when);
        Ok((world.table.push(Pollable)?,))
    })?;
    clock.func_wrap("subscribe-duration", |mut of: Of, (duration,): (u64,)| {
        let world = of.data_mut();
        world.now += duration;
        Ok((world.table.push(Pollable)?,))
    })
}

/// The file or directory of a call, in which the instance can be stopped before.
fn file_of<'a>(of: &'a mut Of, file: &Resource<Descriptor>) -> Result<(&'a mut World, Node)> {
    let world = of.data_mut();
    let node = world.file(file)?;
    world.pass();
    Ok((world, node))
}

/// The file of a call that changes it, or opens a stream for that.
fn file_to_change<'a>(
    of: &'a mut Of,
    file: &Resource<Descriptor>,
) -> Result<(&'a mut World, Node)> {
    let world = of.data_mut();
    let node = world.file(file)?;
    world.pass_before_change(node);
    Ok((world, node))
}

impl World {
    fn file(&mut self, file: &Resource<Descriptor>) -> Result<Node> {
        match self.faults.kills() {
            true => Err(wasmtime::Error::msg("killed")),
            false => Ok(self.table.get(file)?.0),
        }
    }
}

/// What a call comes to, after which the instance can be stopped.
fn done<T>(world: &mut World, result: T) -> Result<(T,)> {
    world.pass();
    Ok((result,))
}
