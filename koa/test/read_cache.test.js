'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { ReadCache } = require('../lib/read_cache.js');
const { directory, open, openStore } = require('./support.js');

/** A generator of pseudo-random integers below a limit. */
function numbers(seed) {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const SIDS = ['a', 'b', 'c', 'd'];

/** A random call of the store. */
function operation(random) {
  const sid = SIDS[random(SIDS.length)];
  const [value, ttl, version] = [random(1000), random(8) === 0 ? -1 : 3_600_000, random(6)];
  switch (random(12)) {
    case 0:
      return (store) => store.set(sid, { value }, ttl).then(({ outcome, version }) => [outcome, version]);
    case 1:
      return (store) => store.update(sid, { value }, { version }).then(({ outcome }) => outcome);
    case 2:
      return (store) => store.touch(sid, ttl).then((expires) => expires !== null);
    case 3:
      return (store) => (value < 300 ? store.destroy(sid) : store.get(sid));
    case 4:
      return (store) => store.merge(sid, { [`m${value % 3}`]: value }).then((session) => session?.data ?? null);
    case 5:
      return (store) => (value < 20 ? store.clear() : value < 60 ? store.rotate(sid).then(Boolean) : store.get(sid));
    default:
      return (store) => store.get(sid);
  }
}

test('with the cache every answer is that of the database, even with writes in flight', async (t) => {
  const options = { tombstone: 0, renewalStep: 0 };
  const cached = await openStore(t, { ...options, readCache: 1500 });
  const plain = await openStore(t, { ...options, readCache: 0 });
  for (let seed = 0; seed < 60; seed += 1) {
    const random = numbers(seed);
    for (let round = 0; round < 8; round += 1) {
      const operations = Array.from({ length: 1 + random(12) }, () => operation(random));
      const answers = await Promise.all([cached, plain].map((store) => Promise.all(operations.map((call) => call(store)))));
      assert.deepEqual(answers[0], answers[1], `seed ${seed}, round ${round}`);
      for (const sid of SIDS) assert.deepEqual(await cached.get(sid), await plain.get(sid), `seed ${seed}, round ${round}, ${sid}`);
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
