// WASI's file system over node:fs, confined to given directories.
//
// Only error codes of WASI, as strings, may be thrown to the component: any other
// exception unwinds through it and leaves it unusable.

import fs from 'node:fs';

import { FileInput, FileOutput } from './streams.mjs';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC } = fs.constants;

/** The host's own files in the directory start with this; the component cannot reach them. */
const RESERVED = '.wasi-sessions';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** The longest read, in bytes. */
const LONGEST = 16 << 20;

const CODES = {
  EACCES: 'access',
  EAGAIN: 'would-block',
  EBADF: 'bad-descriptor',
  EBUSY: 'busy',
  EDQUOT: 'quota',
  EEXIST: 'exist',
  EFBIG: 'file-too-large',
  EINTR: 'interrupted',
  EINVAL: 'invalid',
  EISDIR: 'is-directory',
  ELOOP: 'loop',
  EMFILE: 'insufficient-memory',
  ENAMETOOLONG: 'name-too-long',
  ENFILE: 'insufficient-memory',
  ENOENT: 'no-entry',
  ENOMEM: 'insufficient-memory',
  ENOSPC: 'insufficient-space',
  ENOTDIR: 'not-directory',
  ENOTEMPTY: 'not-empty',
  EPERM: 'not-permitted',
  EROFS: 'read-only',
};

/** Runs a file operation; converts its failure to WASI's error code. */
function attempt(operation) {
  try {
    return operation();
  } catch (error) {
    if (typeof error === 'string') throw error;
    throw CODES[error?.code] ?? 'io';
  }
}

/** Converts a position in a file. Node would treat one that is too large as the current position. */
function toPosition(offset) {
  if (offset > Number.MAX_SAFE_INTEGER) throw 'invalid';
  return Number(offset);
}

/** A directory that the component was given. */
export class Root {
  /** The open files of the names that are watched. */
  #opened = new Map();

  /**
   * `base` is a path that stays valid if the directory is moved, such as `/proc/self/fd/3`.
   * Otherwise `identity` is the device and inode of the directory, which are compared before
   * a name in it is changed. The open files of the names in `watched` are returned by
   * {@link opened}.
   */
  constructor(base, identity, watched = []) {
    this.base = base;
    this.identity = identity;
    for (const name of watched) this.#opened.set(name, undefined);
  }

  /** The status of a file that the component has open; `undefined` when it has not. */
  opened(name) {
    return this.#opened.get(name)?.status();
  }

  /** Reads from a file that the component has open; empty when it has not. */
  readOpened(name, length, offset) {
    const file = this.#opened.get(name);
    return file?.status() === undefined ? Buffer.alloc(0) : file.read(BigInt(length), BigInt(offset))[0];
  }

  /**
   * Records that a file was opened, unless one is open under this name: while SQLite has it open,
   * others are open only for a moment.
   */
  note(target, file) {
    const name = target.slice(`${this.base}/./`.length);
    if (this.#opened.has(name) && this.opened(name) === undefined) this.#opened.set(name, file);
  }

  /** Converts a path of the component to one of this machine; refuses `..` and links to directories. */
  resolve(relative) {
    const parts = relative.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..') || relative.startsWith('/') || relative.includes('\0')) throw 'not-permitted';
    if (parts[0]?.toLowerCase().startsWith(RESERVED)) throw 'not-permitted';
    // The dot follows `base`, which may be a link.
    let resolved = `${this.base}/.`;
    parts.forEach((part, index) => {
      if (index > 0 && !fs.lstatSync(resolved).isDirectory()) throw 'not-directory';
      resolved = `${resolved}/${part}`;
    });
    return resolved;
  }

  /** Fails if the path now refers to another directory. */
  refuseMoved() {
    if (!this.identity) return;
    const now = fs.statSync(this.base);
    if (now.dev !== this.identity.dev || now.ino !== this.identity.ino) throw 'io';
  }
}

/** An open file or directory: `wasi:filesystem/types.descriptor`. */
export class Descriptor {
  #fd;
  #root;
  #path;

  /** The directory itself. */
  static ofRoot(root) {
    const descriptor = new Descriptor();
    descriptor.#root = root;
    descriptor.#path = '';
    return descriptor;
  }

  #resolve(relative) {
    if (this.#root === undefined) throw 'not-directory';
    return this.#root.resolve(this.#path === '' ? relative : `${this.#path}/${relative}`);
  }

  openAt(_pathFlags, relative, openFlags, descriptorFlags) {
    return attempt(() => {
      const target = this.#resolve(relative);
      const opened = new Descriptor();
      const found = fs.lstatSync(target, { throwIfNoEntry: false });
      if (found?.isSymbolicLink()) throw 'loop';
      if (found && !found.isFile() && !found.isDirectory()) throw 'not-permitted';
      if (found?.isDirectory()) {
        if (openFlags.create && openFlags.exclusive) throw 'exist';
        if (descriptorFlags.write) throw 'is-directory';
        opened.#root = this.#root;
        opened.#path = this.#path === '' ? relative : `${this.#path}/${relative}`;
        opened.#fd = fs.openSync(target, O_RDONLY | O_DIRECTORY);
        return opened;
      }
      if (openFlags.directory) throw found ? 'not-directory' : 'no-entry';
      let flags = (descriptorFlags.write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK;
      if (openFlags.create) flags |= O_CREAT;
      if (openFlags.exclusive) flags |= O_EXCL;
      if (openFlags.truncate) flags |= O_TRUNC;
      opened.#fd = fs.openSync(target, flags, FILE_MODE);
      this.#root.note(target, opened);
      return opened;
    });
  }

  /** The status of an open file; `undefined` when it is closed. */
  status() {
    return this.#fd === undefined ? undefined : fs.fstatSync(this.#fd);
  }

  #file() {
    if (this.#fd === undefined) throw 'is-directory';
    return this.#fd;
  }

  read(length, offset) {
    return attempt(() => {
      const bytes = Buffer.allocUnsafe(Number(length > LONGEST ? LONGEST : length));
      const count = fs.readSync(this.#file(), bytes, 0, bytes.length, toPosition(offset));
      return [bytes.subarray(0, count), count < bytes.length];
    });
  }

  write(bytes, offset) {
    return attempt(() => BigInt(fs.writeSync(this.#file(), bytes, 0, bytes.length, toPosition(offset))));
  }

  readViaStream(offset) {
    return new FileInput(this, Number(offset));
  }

  writeViaStream(offset) {
    return new FileOutput(this, Number(offset));
  }

  appendViaStream() {
    return new FileOutput(this, Number(this.stat().size));
  }

  setSize(size) {
    attempt(() => fs.ftruncateSync(this.#file(), toPosition(size)));
  }

  sync() {
    attempt(() => (this.#fd === undefined ? syncDirectory(this.#resolve('')) : fs.fsyncSync(this.#fd)));
  }

  syncData() {
    attempt(() => (this.#fd === undefined ? syncDirectory(this.#resolve('')) : fs.fdatasyncSync(this.#fd)));
  }

  getFlags() {
    return { read: true, write: this.#root === undefined, mutateDirectory: this.#root !== undefined };
  }

  #status() {
    return this.#fd === undefined
      ? fs.lstatSync(this.#resolve(''), { bigint: true })
      : fs.fstatSync(this.#fd, { bigint: true });
  }

  stat() {
    return attempt(() => toStat(this.#status()));
  }

  statAt(_pathFlags, relative) {
    return attempt(() => toStat(fs.lstatSync(this.#resolve(relative), { bigint: true })));
  }

  metadataHash() {
    return attempt(() => toHash(this.#status()));
  }

  metadataHashAt(_pathFlags, relative) {
    return attempt(() => toHash(fs.lstatSync(this.#resolve(relative), { bigint: true })));
  }

  createDirectoryAt(relative) {
    attempt(() => fs.mkdirSync(this.#resolve(relative), DIRECTORY_MODE));
  }

  removeDirectoryAt(relative) {
    attempt(() => {
      const target = this.#resolve(relative);
      this.#root.refuseMoved();
      fs.rmdirSync(target);
    });
  }

  unlinkFileAt(relative) {
    attempt(() => {
      const target = this.#resolve(relative);
      this.#root.refuseMoved();
      fs.unlinkSync(target);
    });
  }

  renameAt(relative, directory, newRelative) {
    attempt(() => {
      const [from, to] = [this.#resolve(relative), directory.#resolve(newRelative)];
      this.#root.refuseMoved();
      directory.#root.refuseMoved();
      fs.renameSync(from, to);
    });
  }

  readDirectory() {
    return attempt(() => new DirectoryEntryStream(fs.readdirSync(this.#resolve(''), { withFileTypes: true })));
  }

  /** Links are never followed, so they need not be read. */
  readlinkAt(_relative) {
    throw 'not-permitted';
  }

  setTimesAt() {
    throw 'unsupported';
  }

  [Symbol.dispose ?? Symbol.for('dispose')]() {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    attempt(() => fs.closeSync(fd));
  }
}

/** The entries of a directory. */
export class DirectoryEntryStream {
  #entries;

  constructor(entries) {
    this.#entries = entries[Symbol.iterator]();
  }

  readDirectoryEntry() {
    const { value } = this.#entries.next();
    return value && { name: value.name, type: typeOf(value) };
  }
}

/** Syncs the names in a directory. */
function syncDirectory(directory) {
  const fd = fs.openSync(directory, O_RDONLY | O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function typeOf(entry) {
  if (entry.isFile()) return 'regular-file';
  if (entry.isDirectory()) return 'directory';
  return entry.isSymbolicLink() ? 'symbolic-link' : 'unknown';
}

function toTime(nanoseconds) {
  return { seconds: nanoseconds / 1_000_000_000n, nanoseconds: Number(nanoseconds % 1_000_000_000n) };
}

function toStat(found) {
  return {
    type: typeOf(found),
    linkCount: found.nlink,
    size: found.size,
    dataAccessTimestamp: toTime(found.atimeNs),
    dataModificationTimestamp: toTime(found.mtimeNs),
    statusChangeTimestamp: toTime(found.ctimeNs),
  };
}

/** The identity of a file: its device and inode. */
function toHash(found) {
  return { upper: BigInt.asUintN(64, found.dev), lower: BigInt.asUintN(64, found.ino) };
}
