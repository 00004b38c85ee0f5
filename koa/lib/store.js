'use strict';

const { EventEmitter } = require('node:events');

const { withParent } = require('./directory.js');
const { SessionsError, invalid } = require('./errors.js');
const { expressStore } = require('./express.js');
const { timeToLive } = require('./time_to_live.js');

const NOT_JSON = { code: 'corrupt', message: 'the payload of a session is not JSON' };

/** Marks a promise as handled, so that its rejection does not end the process. */
function unattended(promise) {
  promise.catch(() => {});
  return promise;
}

/** The store for koa-generic-session and koa-session, with the functions of the contract. */
class Store extends EventEmitter {
  #owner;
  #directory;
  #cache;
  #boundsSubjects;
  #closed;

  /** Called by `open`. `cache` is undefined with shared access, or if it is turned off. */
  constructor({ owner, directory, cache, boundsSubjects }) {
    super();
    this.#owner = owner;
    this.#directory = directory;
    this.#cache = cache;
    this.#boundsSubjects = boundsSubjects;
    // Emitted later, since the middleware that listens for it is made after this.
    setImmediate(() => this.emit('connect'));

    /** The store for koa-session-minimal, which awaits neither `set` nor `destroy`. */
    this.minimal = {
      get: (sid) => this.get(sid),
      set: (sid, session, ttl) => this.set(sid, session, ttl).catch(() => {}),
      destroy: (sid) => this.destroy(sid).catch(() => {}),
    };
  }

  async get(sid) {
    const found = this.#cache?.get(sid) ?? (await this.#fetch(sid));
    return this.#parse(found) ?? null;
  }

  set(sid, session, ttl) {
    return unattended(this.#set(sid, session, ttl));
  }

  destroy(sid) {
    return unattended(this.#destroy(sid));
  }

  touch(sid, ttl) {
    return unattended(this.#touch(sid, ttl));
  }

  /** A store for express-session. The argument is the module `express-session`. */
  express(session) {
    return expressStore(this, session);
  }

  /** A session and its expiry, from the cache if possible; `undefined` when it is missing. */
  async find(sid) {
    return this.#found(this.#cache?.get(sid) ?? (await this.#fetch(sid)));
  }

  /** The same for a session that a listing named. */
  async findByHandle(handle) {
    return this.#found(await this.#owner.call('inspect', { handle }));
  }

  #found(found) {
    const session = this.#parse(found);
    return session === undefined ? undefined : { session, expires: found.expires };
  }

  async read(sid) {
    return toSession(await this.#fetch(sid));
  }

  async create(session, { ttl, subject } = {}) {
    const data = toText(session);
    this.#mayEndOthers(subject);
    return this.#request({ verb: 'create', data, ttl: timeToLive(ttl, session), subject: toSubject(subject) });
  }

  async update(sid, session, { version, ttl } = {}) {
    const data = toText(session);
    if (version !== undefined && !(Number.isSafeInteger(version) && version >= 0)) {
      throw invalid('version: must be a whole number');
    }
    if (!canExist(sid)) {
      if (version === 0) throw invalid('id: must be 1 to 255 bytes of UTF-8');
      return { outcome: 'gone' };
    }
    return this.#update({ verb: 'update', id: sid, data, ttl: timeToLive(ttl, session), expected: version });
  }

  /** For the import: creates a session, if it does not exist, with this JSON text, which is stored unchanged. */
  async insert(sid, data, ttl) {
    if (!canExist(sid)) throw invalid('id: must be 1 to 255 bytes of UTF-8');
    return this.#update({ verb: 'update', id: sid, data, ttl, expected: 0 });
  }

  async #update(request) {
    const { data } = request;
    const written = await this.#do(request, true, (result) => {
      if (result.outcome === 'written') return { text: data, expires: result.expires };
      return result.session;
    });
    return written.outcome === 'stale' ? { outcome: 'stale', session: toSession(written.session) } : written;
  }

  async merge(sid, patch, { ttl } = {}) {
    const text = toText(patch);
    if (!canExist(sid)) return null;
    return toSession(await this.#do({ verb: 'merge', id: sid, patch: text, ttl: timeToLive(ttl) }, true, (session) => session));
  }

  async rotate(sid, { subject } = {}) {
    toSubject(subject);
    if (!canExist(sid)) return null;
    this.#mayEndOthers(subject);
    return (await this.#do({ verb: 'rotate', id: sid, subject }, true, () => undefined)) ?? null;
  }

  async listSessions({ subject, cursor, limit = 100 } = {}) {
    if (cursor !== undefined && typeof cursor !== 'string') throw invalid('cursor: must be the `next` of a page');
    const { entries, next } = await this.#owner.call('listSessions', { subject: toSubject(subject), cursor, limit: toCount(limit) });
    return { sessions: entries, next };
  }

  async countSessions({ subject } = {}) {
    return this.#owner.call('countSessions', { subject: toSubject(subject) });
  }

  async inspect(handle) {
    if (typeof handle !== 'string') return null;
    return toSession(await this.#owner.call('inspect', { handle }));
  }

  async terminate(handle) {
    if (typeof handle !== 'string') return false;
    return this.#ending('terminate', { handle });
  }

  async terminateSubject(subject, { except } = {}) {
    if (subject === undefined) throw invalid('subject: is missing');
    return this.#ending('terminateSubject', { subject: toSubject(subject), except: canExist(except) ? except : undefined });
  }

  async clear() {
    return this.#ending('clear', {});
  }

  async collect({ limit = 1000 } = {}) {
    return this.#owner.call('collect', { limit: toCount(limit) });
  }

  async stats() {
    return this.#owner.call('stats', {});
  }

  async check() {
    return this.#owner.call('check', {});
  }

  async backup(target) {
    if (typeof target !== 'string' || target === '') throw invalid('target: must be a path');
    return withParent(target, (parameters) => this.#owner.call('backup', parameters));
  }

  close() {
    // Another process may own the database next.
    this.#cache = undefined;
    this.#closed ??= this.#owner.close().finally(() => this.#directory.close());
    return this.#closed;
  }

  async #set(sid, session, ttl) {
    let data;
    try {
      data = toText(session);
      if (!canExist(sid)) throw invalid('id: must be 1 to 255 bytes of UTF-8');
    } catch (error) {
      this.emit('failure', error, 'set');
      throw error;
    }
    const request = { verb: 'set', id: sid, data, ttl: timeToLive(ttl, session) };
    return this.#do(request, true, (result) => result.outcome === 'written' && { text: data, expires: result.expires });
  }

  async #destroy(sid) {
    if (!canExist(sid)) return false;
    return this.#do({ verb: 'destroy', id: sid }, true, () => undefined);
  }

  async #touch(sid, ttl) {
    if (!canExist(sid)) return null;
    const request = { verb: 'touch', id: sid, ttl: timeToLive(ttl) };
    const renewed = (expires, before) => expires !== undefined && before && { text: before.text, expires };
    return (await this.#do(request, true, renewed)) ?? null;
  }

  /** Reads a session from the database; `undefined` when it is missing. */
  async #fetch(sid) {
    if (!canExist(sid)) return undefined;
    return this.#do({ verb: 'get', id: sid }, false, (session) => session);
  }

  /** Parses the payload of a session. One that is not JSON counts as missing and is emitted as a failure. */
  #parse(found) {
    if (found === undefined) return undefined;
    try {
      return JSON.parse(found.text);
    } catch {
      this.emit('failure', new SessionsError(NOT_JSON), 'get');
      return undefined;
    }
  }

  /** Sends a request for one session; `after` computes the session after it, for the cache. */
  async #do(request, isWrite, after) {
    const sent = this.#cache?.sent(request.id, isWrite);
    try {
      const result = await this.#request(request);
      this.#cache?.answered(sent, after(result, sent.before));
      return result;
    } catch (error) {
      this.#cache?.answered(sent, undefined);
      throw error;
    }
  }

  async #request(request) {
    try {
      return await this.#owner.request(request);
    } catch (error) {
      this.emit('failure', error, request.verb);
      throw error;
    } finally {
      this.#cache?.saw(this.#owner.now);
    }
  }

  #ending(call, parameters) {
    this.#cache?.clear();
    return this.#owner.call(call, parameters);
  }

  /** Clears the cache if binding this subject may end other sessions. */
  #mayEndOthers(subject) {
    if (this.#boundsSubjects && subject !== undefined) this.#cache?.clear();
  }
}

/** Whether a session can have this id; the component checks the length in bytes. */
function canExist(sid) {
  return typeof sid === 'string' && sid !== '' && sid.length <= 255 && sid.isWellFormed();
}

function toText(session) {
  let text;
  try {
    text = JSON.stringify(session);
  } catch {
    // The message is dropped, since it may quote the session.
  }
  if (text === undefined) throw invalid('session: cannot be written as JSON');
  return text;
}

function toSubject(subject) {
  if (subject === undefined || (typeof subject === 'string' && subject.isWellFormed())) return subject;
  throw invalid('subject: must be 1 to 255 bytes of UTF-8');
}

function toCount(limit) {
  if (Number.isInteger(limit) && limit >= 0 && limit < 2 ** 32) return limit;
  throw invalid('limit: must be a whole number');
}

function toSession(found) {
  if (found === undefined) return null;
  const { text, ...session } = found;
  try {
    return { data: JSON.parse(text), ...session };
  } catch {
    throw new SessionsError(NOT_JSON);
  }
}

module.exports = { Store };
