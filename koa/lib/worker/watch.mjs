// Detects that the database or its directory was moved, removed or replaced while it is open,
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
  message: 'the database or its directory was moved, removed or replaced',
};
const LOCK_LOST = {
  code: 'lock-lost',
  message: 'the lock of the database was lost: an instance with `shared` access took it over, or it was removed',
};

export class Watch {
  #base;
  #directory;
  #file;
  #token;
  #identities;
  #looked = -Infinity;
  #renewed = [-Infinity, -Infinity];
  #problem;

  /**
   * `base` refers to the open directory; `directory` is the absolute path that it must keep.
   * `token` is the path of the lease's token, `undefined` with shared access.
   */
  constructor({ base, directory, file, token }) {
    this.#base = base;
    this.#directory = directory;
    this.#file = file;
    this.#token = token;
    this.note();
    if (token !== undefined) setInterval(() => this.#renew(), RENEW_AFTER).unref();
  }

  /** Records the files as they are in the open directory. */
  note() {
    this.#identities = this.#identify(this.#base);
    this.#look();
  }

  /**
   * The error that all requests get since a check has failed; the last one was at most `INTERVAL`
   * ago.
   */
  problem() {
    const isDue = Math.abs(Date.now() - this.#looked) >= INTERVAL;
    if (isDue || this.#isDoubtful()) this.#look();
    return this.#problem;
  }

  /** The same after a call, during which this process may have been stopped. */
  problemAfter() {
    if (this.#isDoubtful()) this.#look();
    return this.#problem;
  }

  #look() {
    this.#looked = Date.now();
    if (this.#problem) return;
    if (this.#isDoubtful()) this.#renew();
    if (this.#identities !== this.#identify(this.#directory)) this.#problem = REPLACED;
    else if (this.#token !== undefined && !fs.lstatSync(this.#token, { throwIfNoEntry: false })) this.#problem = LOCK_LOST;
  }

  #identify(directory) {
    const found = [directory, path.join(directory, this.#file)].map((name) => fs.statSync(name, { throwIfNoEntry: false }));
    return found.map((status) => `${status?.dev}:${status?.ino}`).join();
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

/** The time by the monotonic and by the wall clock: the monotonic one stops while a machine sleeps. */
function moment() {
  return [performance.now(), Date.now()];
}
