// Wraps the component. The only file that uses the code that jco generates: it converts
// bigints and `{tag, val}` objects to plain values of JavaScript, and back.

import { readFileSync } from 'node:fs';

import { instantiate } from '../../dist/store.js';

import { Root } from './files.mjs';
import { Log } from './streams.mjs';
import { BACKUP, STORE, imports } from './wasi.mjs';

/** The mark of a backup and its offset, that of SQLite's `application_id`, in the database (`mark.rs`). */
const MARK = 'WSbk';
const MARK_OFFSET = 68;

const LATEST = 2n ** 63n - 1n;
const DISPOSE = Symbol.dispose ?? Symbol.for('dispose');

/** Whether an exception is an error that the component returned; after any other it is unusable. */
function isReturned(error) {
  return typeof error?.payload?.tag === 'string';
}

/**
 * Converts an exception to plain data: an error that the component returned, or else `crashed`
 * with what the component wrote to standard error.
 */
export function explain(error) {
  return isReturned(error) ? fromError(error.payload) : { code: 'crashed', message: `${error} ${log.text}`.trim() };
}

/** The end of what the component has written to standard error. */
const log = new Log();

/** An open store. */
export class Component {
  #store;
  #admin;
  #root;
  #file;
  #backup;
  #clock;

  /** Opens the store, with options as JSON. For what it throws, see {@link explain}. */
  constructor({ base, identity, file, options }) {
    const root = new Root(base, identity, [file, `${file}-wal`]);
    this.#root = root;
    this.#file = file;
    this.#backup = new Root(base, identity);
    const { interfaces, clock } = imports(new Map([[STORE, root], [BACKUP, this.#backup]]), log);
    this.#clock = clock;
    const module = (name) => new WebAssembly.Module(readFileSync(new URL(`../../dist/${name}`, import.meta.url)));
    const { sessions, admin } = instantiate(module, interfaces);
    this.#admin = admin;
    this.#store = sessions.Store.open(file, options);
  }

  /** The last time that the component read from the clock, in milliseconds since the epoch. */
  get now() {
    return this.#clock.now;
  }

  /** The status of the database or its WAL, if the component has it open. */
  opened(name) {
    return this.#root.opened(name);
  }

  /** Whether the open database has the mark of a backup that was not opened as a database yet. */
  isBackup() {
    return this.#root.readOpened(this.#file, MARK.length, MARK_OFFSET).toString('latin1') === MARK;
  }

  /**
   * Runs requests in one transaction. If the transaction fails, runs each request alone, since
   * the cause need not affect all of them; except on `busy`.
   */
  requests(requests) {
    if (requests.length === 1) return requests.map((request) => this.#attempt(() => this.#alone(request)));
    try {
      return this.#store.batch(requests.map(toRequest)).map(fromResult);
    } catch (error) {
      if (!isReturned(error)) throw error;
      if (error.payload.tag === 'busy') return requests.map(() => ({ error: fromError(error.payload) }));
      return requests.map((request) => this.#attempt(() => this.#alone(request)));
    }
  }

  /** Calls a function of `admin`. */
  admin(name, parameters) {
    return this.#attempt(() => ADMIN[name](this.#admin, this.#store, parameters));
  }

  /** Writes a copy to a file in the directory that `base` refers to. */
  backup({ base, identity, file }) {
    const before = { ...this.#backup };
    Object.assign(this.#backup, { base, identity });
    try {
      return this.#attempt(() => this.#admin.backup(this.#store, `${BACKUP}/${file}`));
    } finally {
      Object.assign(this.#backup, before);
    }
  }

  /** Closes the database, with a checkpoint. */
  close() {
    this.#store[DISPOSE]();
  }

  #alone({ verb, id, data, ttl, subject, expected, patch }) {
    const store = this.#store;
    switch (verb) {
      case 'get':
        return fromSession(store.get(id));
      case 'set':
        return fromOutcome(store.set(id, toData(data), toTtl(ttl)));
      case 'touch':
        return fromNumber(store.touch(id, toTtl(ttl)));
      case 'destroy':
        return store.destroy(id);
      case 'create':
        return fromCreated(store.create(toData(data), toTtl(ttl), subject));
      case 'update':
        return fromOutcome(store.update(id, toData(data), toTtl(ttl), toVersion(expected)));
      case 'merge':
        return fromSession(store.merge(id, patch, toTtl(ttl)));
      case 'rotate':
        return fromCreated(store.rotate(id, subject));
    }
  }

  /** The value or the error of a call, as plain data. Rethrows an exception that leaves the component unusable. */
  #attempt(call) {
    try {
      return { value: call() };
    } catch (error) {
      if (!isReturned(error)) throw error;
      return { error: fromError(error.payload) };
    }
  }
}

const ADMIN = {
  listSessions(admin, store, { subject, cursor, limit }) {
    const { entries, next } = admin.listSessions(store, subject, cursor, limit);
    return { entries: entries.map(fromEntry), next };
  },
  countSessions: (admin, store, { subject }) => Number(admin.countSessions(store, subject)),
  inspect: (admin, store, { handle }) => fromSession(admin.inspect(store, handle)),
  terminate: (admin, store, { handle }) => admin.terminate(store, handle),
  terminateSubject: (admin, store, { subject, except }) => Number(admin.terminateSubject(store, subject, except)),
  clear: (admin, store) => Number(admin.clear(store)),
  collect(admin, store, { limit }) {
    const { removed, more } = admin.collect(store, limit);
    return { removed: Number(removed), more };
  },
  stats(admin, store) {
    const { name, engine, live, expired, size, collected } = admin.stats(store);
    return { name, engine, live: Number(live), expired: Number(expired), size: Number(size), collected: Number(collected) };
  },
  check: (admin, store) => admin.check(store),
};

function toRequest({ verb, id, data, ttl, subject, expected, patch }) {
  switch (verb) {
    case 'create':
      return { tag: verb, val: { data: toData(data), ttl: toTtl(ttl), subject } };
    case 'set':
      return { tag: verb, val: { id, data: toData(data), ttl: toTtl(ttl) } };
    case 'update':
      return { tag: verb, val: { id, data: toData(data), ttl: toTtl(ttl), expected: toVersion(expected) } };
    case 'merge':
      return { tag: verb, val: { id, patch, ttl: toTtl(ttl) } };
    case 'touch':
      return { tag: verb, val: { id, ttl: toTtl(ttl) } };
    case 'rotate':
      return { tag: verb, val: { id, subject } };
    default:
      return { tag: verb, val: { id } };
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function toData(text) {
  return encoder.encode(text);
}

/** Milliseconds; `Infinity` is the longest. */
function toTtl(ttl) {
  if (ttl === undefined) return undefined;
  return ttl < Number.MAX_SAFE_INTEGER ? BigInt(ttl) : LATEST;
}

function toVersion(expected) {
  return expected === undefined ? undefined : BigInt(expected);
}

function fromResult({ tag, val }) {
  return tag === 'ok' ? { value: fromReply(val) } : { error: fromError(val) };
}

function fromReply({ tag, val }) {
  switch (tag) {
    case 'session':
      return fromSession(val);
    case 'outcome':
      return fromOutcome(val);
    case 'expires':
      return fromNumber(val);
    case 'created':
    case 'rotated':
      return fromCreated(val);
    default:
      return val;
  }
}

function fromOutcome({ tag, val }) {
  switch (tag) {
    case 'written':
      return { outcome: 'written', version: Number(val.version), updated: Number(val.updated), expires: Number(val.expires) };
    case 'stale':
      return { outcome: 'stale', session: fromSession(val) };
    default:
      return { outcome: 'gone' };
  }
}

function fromNumber(number) {
  return number === undefined ? undefined : Number(number);
}

function fromCreated(created) {
  return created && { id: created.id, version: Number(created.version), expires: Number(created.expires) };
}

/** The payload as text; `undefined` when it is not UTF-8. */
function fromData(data) {
  try {
    return decoder.decode(data);
  } catch {
    return undefined;
  }
}

function fromSession(session) {
  return session && { ...fromEntryTimes(session), text: fromData(session.data) };
}

function fromEntry(entry) {
  return { handle: entry.handle, ...fromEntryTimes(entry), size: Number(entry.size) };
}

function fromEntryTimes({ subject, version, created, updated, expires }) {
  return { subject, version: Number(version), created: Number(created), updated: Number(updated), expires: Number(expires) };
}

const MESSAGES = {
  busy: 'another owner holds the database',
  'storage-full': 'the disk is full',
};

function fromError({ tag, val }) {
  if (tag === 'too-large') {
    const limit = Number(val);
    return { code: tag, message: `the session is longer than ${limit} bytes`, limit };
  }
  return { code: tag, message: val ?? MESSAGES[tag] };
}
