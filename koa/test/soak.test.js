'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { directory, run } = require('./support.js');

/** Seconds; `SOAK=600 npm test` for ten minutes. */
const SECONDS = Number(process.env.SOAK ?? 6);

test(`memory stays flat for ${SECONDS} seconds of sessions that come and expire`, async (t) => {
  const program = run(
    t,
    directory(t),
    `open({ directory, gcFrequency: 1000 }).then(async (store) => {
      const end = Date.now() + ${SECONDS * 1000};
      let next = 0, operations = 0;
      const memory = [];
      const sampling = setInterval(() => memory.push(process.memoryUsage().rss), ${(SECONDS * 1000) / 60});
      await Promise.all(Array.from({ length: 32 }, async () => {
        while (Date.now() < end) {
          await new Promise(setImmediate);
          const number = next++;
          await store.set('session ' + number, { number, text: 'x'.repeat(300) }, 500 + number % 1000);
          await store.get('session ' + (number - 20));
          if (number % 5 === 0) await store.destroy('session ' + (number - 10));
          operations += 2;
        }
      }));
      clearInterval(sampling);
      const { live, expired, size } = await store.stats();
      say({ memory, operations, live, expired, size, damaged: await store.check() });
      await store.close();
    });`,
  );
  const { memory, operations, damaged, ...state } = await program.next();
  t.diagnostic(`${operations} operations, ${JSON.stringify(state)}, MiB: ${memory.filter((_, index) => index % 6 === 0).map((bytes) => bytes >> 20)}`);
  assert.deepEqual(damaged, []);
  // The caches fill at first.
  const highest = (from, to) => Math.max(...memory.slice(from * memory.length, to * memory.length));
  assert.ok(highest(2 / 3, 1) < 1.25 * highest(1 / 3, 2 / 3), `${memory}`);
  assert.deepEqual(await program.exited, [0, null]);
});
