'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { SHIM, TRAP, cause } = require('./faults.js');
const { openStore, workers } = require('./support.js');

for (const [what, fault, message] of [
  ['a bug in the WASI shim', SHIM, /a bug in the shim/],
  ['a trap of the component', TRAP, /^RuntimeError/],
]) {
  test(`${what} fails the request in flight, and the next worker loses nothing that was answered`, async (t) => {
    const started = workers(t);
    const store = await openStore(t, { readCache: 0 });
    for (let round = 1; round <= 3; round += 1) {
      await store.set('a', { round });
      cause(fault);
      const lost = store.set('a', { round: 'lost' });
      const waiting = [store.set('b', { round }), store.get('a')];
      await assert.rejects(lost, { code: 'crashed', message });
      const [written, found] = await Promise.all(waiting);
      assert.equal(written.outcome, 'written');
      assert.deepEqual(found, { round });
      assert.deepEqual(await store.get('b'), { round });
      assert.deepEqual(await store.check(), []);
      assert.equal(started.length, round + 1);
    }
  });

  test(`${what} fails every request of its batch`, async (t) => {
    const store = await openStore(t, { readCache: 0 });
    await store.set('a', { x: 1 });
    cause(fault);
    // A read writes nothing. The requests after it wait for its answer, and are sent together.
    const read = store.get('a');
    const batch = ['a', 'b', 'c'].map((sid) => store.set(sid, { x: 2 }));
    assert.deepEqual(await read, { x: 1 });
    for (const lost of batch) await assert.rejects(lost, { code: 'crashed', message });
    assert.deepEqual(await store.get('a'), { x: 1 });
    assert.equal(await store.get('b'), null);
  });
}
