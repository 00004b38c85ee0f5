'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const clock = require('./clock.js');

const { ReadCache } = require('../lib/read_cache.js');
const { directory, open, openStore, workers } = require('./support.js');

/** A generator of pseudo-random integers below a limit. */
function numbers(seed) {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const SIDS = ['a', 'b', 'c', 'd'];

/** Sessions that are bound to a user, whose ids each store makes by itself. */
const BOUND = ['of alice 1', 'of alice 2', 'of bob'];

const subjectOf = (name) => name.split(' ')[1];

/** Lives in milliseconds; the clock moves by `HOP` at a time, never to within minutes of the end of a life. */
const [SHORT, MIDDLE, LONG, HOP] = [5_000_000, 15_000_000, 3_600_000_000, 4_000_000];

/** A random call of a store, in which `id` makes ids of names. */
function operation(random, handles) {
  const name = [...SIDS, ...BOUND][random(SIDS.length + BOUND.length)];
  const [value, version] = [random(1000), random(6)];
  const ttl = [-1, SHORT, SHORT, MIDDLE, LONG][random(5)];
  switch (random(14)) {
    case 0:
      return (store, id) => store.set(id(name), { value }, ttl).then(({ outcome, version }) => [outcome, version]);
    case 1:
      return (store, id) => store.update(id(name), { value }, { version, ttl }).then(({ outcome }) => outcome);
    case 2:
      return (store, id) => store.touch(id(name), ttl).then((expires) => expires !== null);
    case 3:
      return (store, id) => (value < 300 ? store.destroy(id(name)) : store.get(id(name)));
    case 4:
      return (store, id) => store.merge(id(name), { [`m${value % 3}`]: value }, { ttl }).then((session) => session?.data ?? null);
    case 5:
      return (store, id) => (value < 20 ? store.clear() : value < 60 ? store.rotate(id(name)).then(Boolean) : store.get(id(name)));
    case 6:
      return (store) => (handles.has(name) && value < 300 ? store.terminate(handles.get(name)) : undefined);
    case 7:
      return (store, id) => {
        if (value >= 200) return store.get(id(name));
        return store.terminateSubject(value < 100 ? 'alice' : 'bob', { except: value % 2 ? id(BOUND[0]) : undefined });
      };
    default:
      return (store, id) => store.get(id(name));
  }
}

/** The handles of ids, which are the same in every store. */
async function handlesOf(store, sids) {
  const handles = new Map();
  for (const sid of sids) {
    await store.set(sid, {});
    const { sessions } = await store.listSessions();
    handles.set(sid, sessions[0].handle);
    await store.destroy(sid);
  }
  return handles;
}

test('with the cache every answer is that of the database, even with writes in flight', async (t) => {
  const started = workers(t);
  const options = { tombstone: 0, renewalStep: 0, gcFrequency: 40 };
  const stores = [await openStore(t, { ...options, readCache: 2500 }), await openStore(t, { ...options, readCache: 0 })];
  const handles = await handlesOf(stores[1], SIDS);
  const ids = stores.map(() => new Map());
  /** Calls a function for both stores, which must answer the same. */
  const both = async (call, where) => {
    const answers = await Promise.all(stores.map((store, index) => call(store, (name) => ids[index].get(name) ?? name)));
    assert.deepEqual(answers[0], answers[1], where);
  };
  for (let seed = 0; seed < 60; seed += 1) {
    const random = numbers(seed);
    for (const name of BOUND) {
      for (const [index, store] of stores.entries()) {
        ids[index].set(name, (await store.create({ name }, { subject: subjectOf(name), ttl: MIDDLE })).id);
      }
    }
    for (let round = 0; round < 8; round += 1) {
      const operations = Array.from({ length: 1 + random(12) }, () => operation(random, handles));
      await both((store, id) => Promise.all(operations.map((call) => call(store, id))), `seed ${seed}, round ${round}`);
      if (random(2) === 0) clock.forward(HOP);
      if (round === 4 && seed % 10 === 0) await Promise.all(started.map((worker) => worker.terminate()));
      for (const name of [...SIDS, ...BOUND]) await both((store, id) => store.get(id(name)), `seed ${seed}, round ${round}, ${name}`);
    }
  }
});

for (const [what, code, lose] of [
  ['the directory was moved', 'replaced', (where) => fs.renameSync(where, `${where}.old`)],
  ['the lock was removed', 'lock-lost', (where) => fs.rmSync(path.join(where, 'sessions.db.lock'), { recursive: true })],
]) {
  test(`nothing is answered from memory after a request failed since ${what}`, async (t) => {
    const where = directory(t);
    const store = await open({ directory: where });
    await store.set('a', { x: 1 });
    lose(where);
    let failed;
    while (!failed) failed = await store.set('b', {}).then(() => undefined, (error) => error);
    assert.equal(failed.code, code);
    await assert.rejects(store.get('a'), { code });
    await assert.rejects(store.get('b'), { code });
    await store.close();
  });
}

test('the cache is bounded in bytes, and keeps sessions that are used', () => {
  const cache = new ReadCache(10_000);
  const insert = (id) => cache.answered(cache.sent(id, false), { text: 'x'.repeat(400), expires: Infinity });
  insert('used');
  for (let number = 0; number < 100; number += 1) {
    insert(`session ${number}`);
    assert.ok(cache.get('used'), `after ${number}`);
  }
  const kept = Array.from({ length: 100 }, (_, number) => cache.get(`session ${number}`)).filter(Boolean);
  assert.ok(kept.length >= 5 && kept.length <= 10, `${kept.length}`);
  cache.answered(cache.sent('large', false), { text: 'x'.repeat(6000), expires: Infinity });
  assert.equal(cache.get('large'), undefined);
});

test('the answer to a read that was sent before a write is not cached', () => {
  const cache = new ReadCache(10_000);
  const read = cache.sent('a', false);
  const destroyed = cache.sent('a', true);
  cache.answered(read, { text: '{}', expires: Infinity });
  assert.equal(cache.get('a'), undefined);
  cache.answered(destroyed, undefined);
  assert.equal(cache.get('a'), undefined);
});

test('the answer to a read that was sent before all sessions were ended is not cached', () => {
  const cache = new ReadCache(10_000);
  const read = cache.sent('a', false);
  cache.clear();
  cache.answered(read, { text: '{}', expires: Infinity });
  assert.equal(cache.get('a'), undefined);
});

test('a clock that steps back does not bring back sessions that may have been collected', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  const cache = new ReadCache(10_000);
  cache.answered(cache.sent('a', false), { text: '{}', expires: 1_500_000 });
  assert.ok(cache.get('a'));
  cache.saw(1_500_000);
  assert.equal(cache.get('a'), undefined);
});

test('changing a session from get does not change the store', async (t) => {
  const store = await openStore(t);
  await store.set('a', { list: [1] });
  (await store.get('a')).list.push(2);
  assert.deepEqual(await store.get('a'), { list: [1] });
});
