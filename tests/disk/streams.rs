//! WASI's streams, which the component's standard library uses to read and write files.

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};

use crate::image::Node;
use crate::resources::{Of, Pollable, resource};
use crate::world::World;

/// A stream that reads or writes a file, starting at an offset.
pub struct Stream {
    /// The file.
    pub node: Node,
    /// The offset of the next byte.
    pub offset: u64,
}

/// Why a stream failed.
pub struct Failure;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Failure>),
    #[component(name = "closed")]
    Closed,
}

/// Links the functions of streams.
pub fn link(streams: &mut LinkerInstance<World>) -> Result<()> {
    resource::<Stream>(streams, "input-stream")?;
    resource::<Stream>(streams, "output-stream")?;
    for name in [
        "[method]input-stream.subscribe",
        "[method]output-stream.subscribe",
    ] {
        streams.func_wrap(name, |mut of: Of, _: (Resource<Stream>,)| {
            Ok((of.data_mut().table.push(Pollable)?,))
        })?;
    }
    streams.func_wrap(
        "[method]input-stream.blocking-read",
        |mut of: Of, (stream, length): (Resource<Stream>, u64)| {
            let world = of.data_mut();
            let Stream { node, offset } = *world.table.get(&stream)?;
            world.pass();
            let read = world.read(node, offset, length);
            world.pass();
            Ok((match read {
                Ok(data) if data.is_empty() => Err(StreamError::Closed),
                Ok(data) => {
                    world.table.get_mut(&stream)?.offset += data.len() as u64;
                    Ok(data)
                }
                Err(_) => Err(world.failure()?),
            },))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.check-write",
        |_: Of, _: (Resource<Stream>,)| Ok((Ok::<_, StreamError>(1_u64 << 20),)),
    )?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut of: Of, (stream, data): (Resource<Stream>, Vec<u8>)| {
            let world = of.data_mut();
            let Stream { node, offset } = *world.table.get(&stream)?;
            let length = data.len() as u64;
            world.pass_before_change(node);
            let written = world.write(node, offset, data);
            world.pass();
            Ok((match written {
                Ok(written) if written == length => {
                    world.table.get_mut(&stream)?.offset += length;
                    Ok(())
                }
                // A stream cannot report how much it has written.
                _ => Err(world.failure()?),
            },))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.blocking-flush",
        |_: Of, _: (Resource<Stream>,)| Ok((Ok::<_, StreamError>(()),)),
    )
}

impl World {
    fn failure(&mut self) -> Result<StreamError> {
        let failure = self.table.push(Failure)?;
        Ok(StreamError::LastOperationFailed(failure))
    }
}
