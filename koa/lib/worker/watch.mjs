// Detects that the database or its directory was moved, removed or replaced while it is open:
// later writes would be lost, or appear in another store.

import fs from 'node:fs';
import path from 'node:path';

/** Milliseconds between two checks. */
const INTERVAL = 100;

export class Watch {
  #directory;
  #file;
  #identities;
  #looked = Date.now();
  #isInPlace = true;

  /** `base` refers to the open directory; `directory` is the absolute path that it must keep. */
  constructor({ base, directory, file }) {
    this.#directory = directory;
    this.#file = file;
    this.#identities = this.#identify(base);
    this.#isInPlace = this.#identities === this.#identify(directory);
  }

  /** Whether everything was in place at the last check, at most `INTERVAL` ago; false from the first failure on. */
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
