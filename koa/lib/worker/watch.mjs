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

  /** `base` refers to the open directory; `directory` is the absolute path that it has to have. */
  constructor({ base, directory, file }) {
    this.#directory = directory;
    this.#file = file;
    this.#identities = this.#identify(base);
    this.#isInPlace = this.#identities === this.#identify(directory);
  }

  /** Whether everything is where it was when it was last looked at, at most `INTERVAL` ago. */
  isInPlace() {
    const now = Date.now();
    if (this.#isInPlace && Math.abs(now - this.#looked) >= INTERVAL) {
      this.#looked = now;
      this.#isInPlace = this.#identities === this.#identify(this.#directory);
    }
    return this.#isInPlace;
  }

  #identify(directory) {
    const found = [directory, path.join(directory, this.#file)].map((name) => fs.statSync(name, { throwIfNoEntry: false }));
    return found.map((status) => `${status?.dev}:${status?.ino}`).join();
  }
}
