'use strict';

// The lease by which instances with `shared` access lock a database, held while this process has
// it open with exclusive access.
//
// Such instances see only this directory beside the database, `….lock`. Its format and the rules
// for taking it over are those of the component (`lock/lease.rs`) and of the Rust host
// (`sandbox/lease.rs`). The prefix of the token says that its owner held flock(2) on the store's
// directory: the next owner of that lock need not wait until the token is old.

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');

const { succeeds, syncDirectory } = require('./files.js');

const { O_NOFOLLOW, O_NONBLOCK, O_TRUNC, O_WRONLY } = fs.constants;

/** The age at which the token of an instance with `shared` access counts as dead, in milliseconds. */
const DEAD_AFTER = 15_000;

/** Milliseconds between two renewals of the token. */
const RENEW_AFTER = 5_000;

/** Milliseconds between two attempts to take a lease that is held. */
const STEP = 5;

const EXCLUSIVE = 'exclusive-';

/**
 * How a token is opened to be renewed: to truncate it sets its modification time by the file
 * system's clock, and needs no space. Links, which the component could have created, are not followed.
 */
const RENEW = O_WRONLY | O_TRUNC | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0);

/** A lease that is held. A timer renews it; the worker does so, too, in case this thread is blocked. */
class Lease {
  #directory;
  #timer;

  constructor(directory, token) {
    this.#directory = directory;
    /** The path of the token, which is gone once another owner has taken the lease over. */
    this.token = token;
    // A failure is retried; the worker looks for the token by itself.
    this.#timer = setInterval(() => renewLater(token).catch(() => {}), RENEW_AFTER).unref();
  }

  /**
   * Takes the lease of a database. Waits up to `patience` milliseconds while another owner holds
   * it; `undefined` if that owner still does. The caller must hold flock(2) on the directory in
   * which it is.
   */
  static async take(database, patience) {
    const directory = `${database}.lock`;
    const prepared = new Prepared(directory);
    const started = performance.now();
    try {
      for (;;) {
        const token = prepared.take();
        if (token !== undefined) return new Lease(directory, token);
        if (performance.now() - started >= patience) return undefined;
        await sleep(STEP);
      }
    } finally {
      prepared.remove();
    }
  }

  release() {
    clearInterval(this.#timer);
    removeWithin(this.#directory, this.token);
  }
}

/** A directory with a token in it that is to become the lease. */
class Prepared {
  #directory;
  #path;
  #token;

  constructor(directory) {
    const random = randomBytes(8).toString('hex');
    this.#directory = directory;
    this.#path = `${directory}-${random}`;
    this.#token = `${EXCLUSIVE}${random}`;
    try {
      fs.mkdirSync(this.#path, { mode: 0o700 });
      fs.writeFileSync(this.#own, '', { flag: 'wx', mode: 0o600 });
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** The token before it is moved. */
  get #own() {
    return path.join(this.#path, this.#token);
  }

  /** The path of the lease's token, if this takes it. */
  take() {
    renew(this.#own);
    const token = path.join(this.#directory, this.#token);
    try {
      // Replaces an empty directory, left by an owner that was killed, and fails for any other.
      fs.renameSync(this.#path, this.#directory);
      return token;
    } catch (error) {
      const found = fs.lstatSync(this.#directory, { throwIfNoEntry: false });
      // The modification time of the own token is the present time of the file system.
      if (found?.isDirectory()) return this.#takeOver(token, fs.lstatSync(this.#own).mtimeMs);
      if (found) throw new Error('a file that is not a lock has its name', { cause: error });
      // The lease was released in the meantime.
      if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST') return undefined;
      throw error;
    }
  }

  /**
   * Takes a dead owner's lease over by renaming its token. If the owner has renewed the token
   * meanwhile, the rename is undone.
   */
  #takeOver(own, now) {
    for (const name of namesIn(this.#directory)) {
      const token = path.join(this.#directory, name);
      const isOver = (file) => name.startsWith(EXCLUSIVE) || isDead(file, now);
      if (!isOver(token) || !succeeds(() => fs.renameSync(token, own))) continue;
      if (!isOver(own)) {
        succeeds(() => fs.renameSync(own, token));
        return undefined;
      }
      try {
        renew(own);
      } catch (error) {
        if (error.code === 'ENOENT') return undefined;
        // Such as a token of another user.
        succeeds(() => fs.renameSync(own, token));
        throw error;
      }
      try {
        // The dead owner may have created files without syncing the directory.
        syncDirectory(path.dirname(this.#directory));
      } catch (error) {
        removeWithin(this.#directory, own);
        throw error;
      }
      return own;
    }
    return undefined;
  }

  /** Removes what was not moved. */
  remove() {
    succeeds(() => fs.unlinkSync(this.#own));
    succeeds(() => fs.rmdirSync(this.#path));
  }
}

/** Sets the modification time of a token to the present; fails if the token is gone. */
function renew(token) {
  try {
    fs.closeSync(fs.openSync(token, RENEW));
  } catch (error) {
    if (!lacksDescriptors(error)) throw error;
    const now = new Date();
    fs.lutimesSync(token, now, now);
  }
  // It may have been renamed after it was opened.
  fs.lstatSync(token);
}

/** The same without blocking this thread. */
async function renewLater(token) {
  try {
    const file = await fs.promises.open(token, RENEW);
    await file.close();
  } catch (error) {
    if (!lacksDescriptors(error)) throw error;
    const now = new Date();
    await fs.promises.lutimes(token, now, now);
  }
}

/** Whether this process, or the machine, has no free descriptor: the times are set without one then. */
function lacksDescriptors({ code }) {
  return code === 'EMFILE' || code === 'ENFILE';
}

/** Removes a token, and the lease if the token was in it: that of another owner is not empty. */
function removeWithin(directory, token) {
  if (succeeds(() => fs.unlinkSync(token))) succeeds(() => fs.rmdirSync(directory));
}

function isDead(token, now) {
  const found = fs.lstatSync(token, { throwIfNoEntry: false });
  return found !== undefined && now - found.mtimeMs > DEAD_AFTER;
}

/** The names in a directory; none if it is gone. */
function namesIn(directory) {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

module.exports = { Lease, RENEW_AFTER, renew };
