'use strict';

/** What an entry takes beyond its texts, in bytes. */
const ENTRY = 200;

/** Milliseconds by which a clock may be set back without the cache being cleared. */
const STEP_BACK = 60_000;

/**
 * Sessions that were read or written before, answered without the worker, and bounded in bytes.
 *
 * It never gives an answer that the database would not give. The process is the only owner of
 * the database. An entry is removed when a write of its session is sent, before it is done; a
 * session is cached when it is acknowledged, unless another write of it was sent meanwhile.
 */
class ReadCache {
  #limit;
  #bytes = 0;
  /** By id; the first is the next to be evicted, unless it was used since it came there. */
  #entries = new Map();
  /** By id: how many requests are on their way, and the number of the last write among them. */
  #pending = new Map();
  #number = 0;
  /** Requests up to this number are not cached: they may be from before a write of all sessions. */
  #cleared = 0;
  #latest = 0;

  constructor(limit) {
    this.#limit = limit;
  }

  /** The text and the expiry of a session; `undefined` when it is not cached. */
  get(id) {
    // What expired while the clock was ahead may have been collected.
    this.saw(Date.now());
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.expires <= this.#latest) return undefined;
    entry.isUsed = true;
    return entry;
  }

  /** A time that the component has seen, or that the clock shows. */
  saw(now) {
    if (now < this.#latest - STEP_BACK) this.clear();
    else if (now <= this.#latest) return;
    this.#latest = now;
  }

  /** To be called when a request for a session is sent; what it returns is for {@link answered}. */
  sent(id, isWrite) {
    const number = ++this.#number;
    let pending = this.#pending.get(id);
    if (pending === undefined) this.#pending.set(id, (pending = { count: 0, lastWrite: 0 }));
    pending.count += 1;
    const before = this.#entries.get(id);
    if (isWrite) {
      pending.lastWrite = number;
      if (before) this.#remove(id, before);
    }
    return { id, number, pending, before };
  }

  /** To be called when that request is answered, with the session as it is then, if that is known. */
  answered({ id, number, pending }, session) {
    pending.count -= 1;
    if (pending.count === 0) this.#pending.delete(id);
    if (session?.text === undefined || number <= this.#cleared || number < pending.lastWrite) return;
    this.#insert(id, session);
  }

  /** Forgets all sessions, and what requests that were sent before will bring. */
  clear() {
    this.#entries.clear();
    this.#bytes = 0;
    this.#cleared = this.#number;
  }

  #insert(id, { text, expires }) {
    const before = this.#entries.get(id);
    if (before) this.#remove(id, before);
    const size = 2 * (id.length + text.length) + ENTRY;
    if (size > this.#limit) return;
    this.#entries.set(id, { text, expires, size, isUsed: false });
    this.#bytes += size;
    for (const [other, entry] of this.#entries) {
      if (this.#bytes <= this.#limit) break;
      this.#entries.delete(other);
      if (entry.isUsed) {
        entry.isUsed = false;
        this.#entries.set(other, entry);
      } else {
        this.#bytes -= entry.size;
      }
    }
  }

  #remove(id, entry) {
    this.#entries.delete(id);
    this.#bytes -= entry.size;
  }
}

module.exports = { ReadCache };
