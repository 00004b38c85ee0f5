'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { directory, run } = require('./support.js');

/** Seconds; `SOAK=600 npm test` for ten minutes. */
const SECONDS = Number(process.env.SOAK ?? 6);

/** So many sessions fill the cache, before memory is measured. */
const FILLING = 5000;

/** How often memory is measured at least, however slow the machine is. */
const SAMPLES = 45;

/** Flags for the smallest young generation, so that garbage takes little memory. */
const MEMORY = ['--expose-gc', '--max-semi-space-size=1'];

/** Asserts that the last third of the run took at most `factor` times the memory of the second. */
function assertFlat(memory, part, factor) {
  const highest = (from, to) => Math.max(...memory.slice(from * memory.length, to * memory.length).map((sample) => sample[part]));
  const [before, after] = [highest(1 / 3, 2 / 3), highest(2 / 3, 1)];
  assert.ok(after < factor * before, `${part} grew from ${before} to ${after} bytes`);
}

test(`memory stays flat for ${SECONDS} seconds while sessions are created and expire`, async (t) => {
  const program = run(
    t,
    directory(t),
    `open({ directory, gcFrequency: 1000, readCache: 1 << 20 }).then(async (store) => {
      let next = 0, operations = 0, end = Infinity;
      const memory = [];
      const sampling = setInterval(() => {
        if (next < ${FILLING}) return;
        if (memory.length === 0) end = Date.now() + ${SECONDS * 1000};
        gc();
        const { heapUsed, rss } = process.memoryUsage();
        memory.push({ heapUsed, rss });
      }, ${(SECONDS * 1000) / 60});
      await Promise.all(Array.from({ length: 32 }, async () => {
        while (Date.now() < end || memory.length < ${SAMPLES}) {
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
    { parameters: MEMORY },
  );
  const { memory, operations, damaged, ...state } = await program.next();
  const mebibytes = (part) => memory.filter((_, index) => index % 6 === 0).map((sample) => sample[part] >> 20);
  t.diagnostic(`${operations} operations, ${JSON.stringify(state)}, heap ${mebibytes('heapUsed')} MiB, process ${mebibytes('rss')} MiB`);
  assert.deepEqual(damaged, []);
  // What V8 has not yet collected in the worker counts as memory of the process, so that bound
  // is wider.
  assertFlat(memory, 'heapUsed', 1.1);
  assertFlat(memory, 'rss', 1.5);
  assert.deepEqual(await program.exited, [0, null]);
});
