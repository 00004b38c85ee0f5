// The component's imports from WASI: directories, clocks, randomness and a log.

import { randomFillSync } from 'node:crypto';

import { Descriptor, DirectoryEntryStream } from './files.mjs';
import { FileInput, FileOutput, Pollable, StreamError } from './streams.mjs';

/** The component's path of the database's directory. */
export const STORE = '/';

/** The component's path of the directory to which a backup is written. */
export const BACKUP = '/.wasi-sessions.backup';

class Nothing {}

/**
 * The imports for one instance of the component. `roots` maps each path of a directory to its
 * `Root`; `clock.now` is the last time that the component read.
 */
export function imports(roots, log) {
  const clock = { now: 0 };
  const directories = [...roots].map(([name, root]) => [Descriptor.ofRoot(root), name]);
  const interfaces = {
    'wasi:cli/environment': { getEnvironment: () => [] },
    'wasi:cli/exit': {
      exit() {
        throw new Error('the component ended itself');
      },
    },
    'wasi:cli/stdin': { getStdin: () => new FileInput() },
    'wasi:cli/stdout': { getStdout: () => log },
    'wasi:cli/stderr': { getStderr: () => log },
    'wasi:cli/terminal-input': { TerminalInput: Nothing },
    'wasi:cli/terminal-output': { TerminalOutput: Nothing },
    'wasi:cli/terminal-stdin': { getTerminalStdin: () => undefined },
    'wasi:cli/terminal-stdout': { getTerminalStdout: () => undefined },
    'wasi:cli/terminal-stderr': { getTerminalStderr: () => undefined },
    'wasi:clocks/monotonic-clock': {
      now: () => process.hrtime.bigint(),
      subscribeInstant: (when) => new Pollable(when),
      subscribeDuration: (length) => new Pollable(process.hrtime.bigint() + length),
    },
    'wasi:clocks/wall-clock': {
      now() {
        clock.now = Date.now();
        return { seconds: BigInt(Math.floor(clock.now / 1000)), nanoseconds: (clock.now % 1000) * 1_000_000 };
      },
    },
    'wasi:filesystem/preopens': { getDirectories: () => directories },
    'wasi:filesystem/types': { Descriptor, DirectoryEntryStream },
    'wasi:io/error': { Error: StreamError },
    'wasi:io/poll': { Pollable },
    'wasi:io/streams': { InputStream: FileInput, OutputStream: FileOutput },
    'wasi:random/insecure-seed': { insecureSeed: () => [random(), random()] },
    'wasi:random/random': { getRandomU64: random },
  };
  return { interfaces, clock };
}

/** A pool of random bytes, since the component asks for 8 at a time; only those after `used` are left. */
const pool = Buffer.alloc(16 << 10);
let used = pool.length;

function random() {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const number = pool.readBigUInt64LE(used);
  pool.fill(0, used, used + 8);
  used += 8;
  return number;
}
