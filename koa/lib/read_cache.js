'use strict';

/** The size of an entry beyond its texts, in bytes. */
const ENTRY = 200;

/** Milliseconds by which a clock may be set back without the cache being cleared. */
const STEP_BACK = 60_000;

/**
 * A cache of sessions that were read or written before, bounded in bytes.
 *
 * It never gives an answer that the database would not give: the process is the only owner of
 * the database, an entry is invalidated when a write of its session is sent, and a session is
 * cached when its read or write is answered, unless another write of it was sent meanwhile.
 */
class ReadCache {
  #limit;
  #bytes = 0;
  /** The entries by id, in the order of eviction; an entry that was used meanwhile gets a second chance. */
  #entries = new Map();
  /** By id: how many requests are in flight, and the number of the last write among them. */
  #pending = new Map();
  #number = 0;
  /** The answers to requests up to this number are not cached: they may be older than the last `clear`. */
  #cleared = 0;
  #latest = 0;

  constructor(limit) {
    this.#limit = limit;
  }

  /** The text and the expiry of a session; `undefined` when it is not cached. */
  get(id) {
    // A session that expired while the clock was ahead may have been collected, so the clock is
    // compared with the latest time seen.
    this.saw(Date.now());
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.expires <= this.#latest) return undefined;
    entry.isUsed = true;
    return entry;
  }

  /** Records a time that the component or this process has read. Clears the cache if the clock was set back. */
  saw(now) {
    if (now < this.#latest - STEP_BACK) this.clear();
    else if (now <= this.#latest) return;
    this.#latest = now;
  }

  /** Must be called when a request for a session is sent; the result is for {@link answered}. */
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

  /** Must be called when that request is answered, with the session after it, if it is known. */
  answered({ id, number, pending }, session) {
    pending.count -= 1;
    if (pending.count === 0) this.#pending.delete(id);
    if (session?.text === undefined || number <= this.#cleared || number < pending.lastWrite) return;
    this.#insert(id, session);
  }

  /** Invalidates all sessions, and the answers to requests in flight. */
  clear() {
    this.#entries.clear();
    this.#bytes = 0;
    this.#cleared = this.#number;
  }

  /** Invalidates all sessions, and caches none from now on. */
  end() {
    this.clear();
    this.#limit = 0;
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
