// Detects that the database, its write-ahead log or its directory was moved, removed or replaced,
// or that another owner took over the lease: later writes would be lost, appear in another store,
// or destroy the database.

import fs from 'node:fs';
import path from 'node:path';

import { RENEW_AFTER, renew } from '../lease.js';

/** Milliseconds between two checks. */
const INTERVAL = 100;

/** Milliseconds without a renewal after which the lease may be lost. */
const DOUBTFUL_AFTER = 10_000;

const REPLACED = {
  code: 'replaced',
  message:
    'the database, its write-ahead log or its directory was moved, removed or replaced; ' +
    'restart the process, or open the store again',
};
const LOCK_LOST = {
  code: 'lock-lost',
  message:
    'the lock of the database was lost: an instance with shared access took it over, or it was removed; ' +
    'restart the process, or open the store again',
};

export class Watch {
  #directory;
  #identity;
  #database;
  /** The names of the files. With shared access the log may belong to an exclusive owner, which removes it. */
  #names;
  #token;
  /** The identities of the files by name, as far as they are known. */
  #files;
  #haveChanged = false;
  #component;
  #looked = -Infinity;
  #renewed = [-Infinity, -Infinity];
  #problem;

  /**
   * `base` refers to the open directory; `directory` is the absolute path that it must keep.
   * `files` is what an earlier worker reported with {@link changes}. `token` is the path of the
   * lease's token, `undefined` with shared access.
   */
  constructor({ base, directory, file, files = {}, token }) {
    this.#directory = directory;
    this.#identity = identify(fs.statSync(base));
    this.#database = file;
    this.#names = token === undefined ? [file] : [file, `${file}-wal`];
    this.#files = { ...files };
    this.#token = token;
    if (token !== undefined) setInterval(() => this.#renew(), RENEW_AFTER).unref();
  }

  /** Watches the files that the component has just opened, which must be those of an earlier worker. */
  watch(component) {
    this.#component = component;
    this.#note();
    this.#look();
  }

  /**
   * The error that all requests get since a check has failed. Checks again if the last check is
   * `INTERVAL` old.
   */
  problem() {
    const isDue = Math.abs(Date.now() - this.#looked) >= INTERVAL;
    if (isDue || this.#isDoubtful()) this.#look();
    return this.#problem;
  }

  /**
   * The same after a call: fails at once if an open file has no name any more, or if this process
   * was stopped during the call. Does not notice a file that was moved.
   */
  problemAfter() {
    const isUnlinked = this.#note();
    if (isUnlinked || this.#isDoubtful()) this.#look();
    if (isUnlinked) this.#problem ??= REPLACED;
    return this.#problem;
  }

  /** The identities of the files, if they have changed since the last call: for the next worker. */
  changes() {
    const changed = this.#haveChanged ? { ...this.#files } : undefined;
    this.#haveChanged = false;
    return changed;
  }

  /**
   * Records which files the component has open, and fails if the database is not the one before.
   * Returns whether one of them has no name any more.
   */
  #note() {
    let isUnlinked = false;
    for (const name of this.#names) {
      const open = this.#component.opened(name);
      if (open === undefined) continue;
      isUnlinked ||= open.nlink === 0;
      const identity = identify(open);
      if (identity === this.#files[name]) continue;
      if (name === this.#database && this.#files[name] !== undefined) {
        this.#problem ??= REPLACED;
        continue;
      }
      this.#files[name] = identity;
      this.#haveChanged = true;
    }
    return isUnlinked;
  }

  #look() {
    this.#looked = Date.now();
    if (this.#problem) return;
    if (this.#isDoubtful()) this.#renew();
    const isMoved = (name) => this.#files[name] !== undefined && !isAt(path.join(this.#directory, name), this.#files[name]);
    if (!isAt(this.#directory, this.#identity)) this.#problem = REPLACED;
    // The next owner may have removed the log.
    else if (this.#token !== undefined && !isAt(this.#token)) this.#problem = LOCK_LOST;
    else if (this.#names.some(isMoved) || this.#isOverwritten()) this.#problem = REPLACED;
  }

  /**
   * Whether a backup was copied over the database; the component has removed the mark of the one
   * that it opened. With shared access, instances open such a backup.
   */
  #isOverwritten() {
    try {
      return this.#token !== undefined && (this.#component?.isBackup() ?? false);
    } catch {
      return false;
    }
  }

  /** Whether the lease may be lost, because this thread has not renewed it for long. */
  #isDoubtful() {
    if (this.#token === undefined) return false;
    const now = moment();
    return now.some((time, clock) => time - this.#renewed[clock] > DOUBTFUL_AFTER);
  }

  #renew() {
    const now = moment();
    try {
      renew(this.#token);
      this.#renewed = now;
    } catch {
      // The next check looks for the token.
    }
  }
}

function identify({ dev, ino }) {
  return `${dev}:${ino}`;
}

/** Whether the name refers to this file, or to any if none is given; true when that cannot be determined. */
function isAt(name, identity) {
  try {
    const found = fs.lstatSync(name, { throwIfNoEntry: false });
    return found !== undefined && (identity === undefined || identify(found) === identity);
  } catch {
    return true;
  }
}

/** The time by the monotonic and by the wall clock: the monotonic one stops while a machine sleeps. */
function moment() {
  return [performance.now(), Date.now()];
}
