'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { SessionsError, fromSystem, invalid } = require('./errors.js');
const { succeeds, syncDirectory } = require('./files.js');
const { Lease } = require('./lease.js');
const { lock } = require('./lock.js');

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** The host's own files in the directory start with this. */
const RESERVED = '.wasi-sessions';

/**
 * The directory of an open store. It is locked until it is closed; the kernel also releases
 * the lock when the process dies in any way.
 */
class Directory {
  #fd;
  #file;
  #lease;
  #database;

  /** Creates the directory when it is missing, for this user alone and durably, and locks it. */
  constructor(given, file, isShared) {
    checkFile(file);
    this.#file = file;
    try {
      const first = fs.mkdirSync(given, { recursive: true, mode: 0o700 });
      /** An absolute path without links, since the process may change its working directory. */
      this.path = fs.realpathSync(given);
      if (first !== undefined) syncParents(this.path, fs.realpathSync(first));
      this.#fd = fs.openSync(this.path, O_RDONLY | (O_DIRECTORY ?? 0));
    } catch (error) {
      throw fromSystem(`cannot use the directory \`${given}\``, error);
    }
    try {
      lock(this.#fd, given, isShared);
      this.#refuseOdd(file);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The directory as the worker opens it, see `Root`. */
  get root() {
    return toRoot(this.#fd, this.path);
  }

  #refuseOdd(file) {
    const found = fs.lstatSync(path.join(this.path, file), { throwIfNoEntry: false });
    if (found && !found.isFile()) {
      throw new SessionsError({ code: 'directory', message: `\`${file}\` is not a regular file` });
    }
  }

  /**
   * Takes the lease of instances with `shared` access, which do not see the lock; it is held
   * until the directory is closed. Waits up to `patience` milliseconds while such an instance has
   * it, then throws `in-use`. On a full disk, takes the space that it needs from the reserve,
   * which the component makes again.
   */
  async takeLease(patience) {
    const database = path.join(this.root.base, this.#file);
    try {
      this.#lease = await Lease.take(database, patience).catch((error) => {
        if (!isFull(error) || !succeeds(() => fs.unlinkSync(`${database}-reserve`))) throw error;
        return Lease.take(database, patience);
      });
    } catch (error) {
      if (isFull(error)) throw new SessionsError({ code: 'storage-full', message: 'the disk is full' });
      throw fromSystem(`cannot take the lock \`${path.join(this.path, this.#file)}.lock\``, error);
    }
    if (this.#lease) return;
    throw new SessionsError({
      code: 'in-use',
      message:
        `an instance with shared access uses the database \`${path.join(this.path, this.#file)}\`. ` +
        "Try again when it has stopped, or open the store with `access: 'shared'`, too",
    });
  }

  /**
   * Holds the database open, so that no other file gets its identity, by which the worker
   * recognises it, while no worker runs. Without a free descriptor it is not held.
   */
  holdDatabase() {
    try {
      this.#database = fs.openSync(path.join(this.root.base, this.#file), O_RDONLY | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0));
    } catch {
      // The worker notices by itself if the file is gone.
    }
  }

  /** The path of the lease's token; `undefined` without a lease. */
  get token() {
    return this.#lease?.token;
  }

  close() {
    this.#lease?.release();
    if (this.#database !== undefined) fs.closeSync(this.#database);
    fs.closeSync(this.#fd);
  }
}

function isFull({ code }) {
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/**
 * Syncs the parents of the new directory `last` and of its new ancestors up to `first`, so that a
 * loss of power takes none of their names.
 */
function syncParents(last, first) {
  if (process.platform === 'win32') return;
  for (let made = last; made.startsWith(first); made = path.dirname(made)) {
    syncDirectory(path.dirname(made));
  }
}

/** Opens the directory in which a backup is written, and passes it to `use`. */
async function withParent(target, use) {
  const [parent, file] = [path.dirname(path.resolve(target)), path.basename(target)];
  let fd;
  try {
    fd = fs.openSync(parent, O_RDONLY | (O_DIRECTORY ?? 0));
  } catch (error) {
    throw fromSystem('cannot write the backup', error);
  }
  try {
    return await use({ ...toRoot(fd, parent), file });
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * On Linux, a path of an open directory that stays valid when the directory is moved.
 * Elsewhere its ordinary path, with the identity of the directory.
 */
function toRoot(fd, directory) {
  const base = `/proc/self/fd/${fd}`;
  const identity = fs.fstatSync(fd);
  const found = process.platform === 'linux' && fs.statSync(base, { throwIfNoEntry: false });
  if (found && found.dev === identity.dev && found.ino === identity.ino) return { base };
  return { base: directory, identity: { dev: identity.dev, ino: identity.ino } };
}

function checkFile(file) {
  const isName = typeof file === 'string' && file !== '' && file === path.basename(file) && !['.', '..'].includes(file);
  if (!isName || file.includes('\0') || file.toLowerCase().startsWith(RESERVED)) {
    throw invalid('file: must be the name of a file in the directory');
  }
}

module.exports = { Directory, withParent };
