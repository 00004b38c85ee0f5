// Notices that the database or its directory was moved, removed or replaced while it is
// open: what is written then would be lost, or found by another store.

import fs from 'node:fs';
import path from 'node:path';

/** Milliseconds between two looks. */
const INTERVAL = 100;

export class Watch {
  #directory;
  #file;
  #identities;
  #looked = Date.now();
  #isInPlace = true;

  /** `directory` is an absolute path. */
  constructor({ directory, file }) {
    this.#directory = directory;
    this.#file = path.join(directory, file);
    this.#identities = this.#identify();
  }

  /** Whether everything is where it was when it was last looked at, at most `INTERVAL` ago. */
  isInPlace() {
    const now = Date.now();
    if (this.#isInPlace && Math.abs(now - this.#looked) >= INTERVAL) {
      this.#looked = now;
      this.#isInPlace = this.#identities === this.#identify();
    }
    return this.#isInPlace;
  }

  #identify() {
    const found = [this.#directory, this.#file].map((name) => fs.statSync(name, { throwIfNoEntry: false }));
    return found.map((status) => `${status?.dev}:${status?.ino}`).join();
  }
}
