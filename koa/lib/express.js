'use strict';

const { timeToLive, untilDate } = require('./time_to_live.js');

/** The last time that a `Date` can have, in milliseconds since the epoch. */
const LAST = 8.64e15;

/** A store for express-session: the same sessions, with callbacks. */
function expressStore(store, session) {
  class ExpressStore extends session.Store {
    get(sid, callback) {
      answer(find(store, sid), callback);
    }

    set(sid, session, callback) {
      answer(store.set(sid, session, life(session)), callback, () => undefined);
    }

    destroy(sid, callback) {
      answer(store.destroy(sid), callback, () => undefined);
    }

    touch(sid, session, callback) {
      answer(store.touch(sid, life(session)), callback, () => undefined);
    }

    all(callback) {
      answer(all(store), callback);
    }

    length(callback) {
      answer(store.countSessions(), callback);
    }

    clear(callback) {
      answer(store.clear(), callback, () => undefined);
    }
  }
  return new ExpressStore();
}

/** The ttl of a session: until `cookie.expires`, or else as for the other middlewares. */
function life(session) {
  const left = untilDate(session?.cookie?.expires) ?? timeToLive(undefined, session);
  // A ttl of 0 would count as not given.
  return left === 0 ? -1 : left;
}

/** Finds a session, and sets its `cookie.expires`, which `touch` does not write, to its expiry. */
async function find(store, sid) {
  const found = await store.find(sid);
  return found === undefined ? null : renewed(found.session, found.expires);
}

function renewed(session, expires) {
  if (session?.cookie?.expires) session.cookie.expires = new Date(Math.min(expires, LAST)).toISOString();
  return session;
}

/** All sessions, without their ids, which the store does not keep. */
async function all(store) {
  const sessions = [];
  let cursor;
  do {
    const page = await store.listSessions({ cursor, limit: 1000 });
    for (const { handle } of page.sessions) {
      const found = await store.findByHandle(handle);
      if (found) sessions.push(renewed(found.session, found.expires));
    }
    cursor = page.next;
  } while (cursor !== undefined);
  return sessions;
}

/** Calls the callback outside of the promise, which would swallow its exceptions. */
function answer(promise, callback = () => {}, result = (value) => value) {
  promise.then(
    (value) => process.nextTick(callback, null, result(value)),
    (error) => process.nextTick(callback, error),
  );
}

module.exports = { expressStore };
