'use strict';

// Measures one store, as a separate process: `measure.js STORE DIRECTORY`. Prints JSON.

const { monitorEventLoopDelay } = require('node:perf_hooks');

const { STORES } = require('./stores.js');

const [name, directory] = process.argv.slice(2);
const SESSIONS = 1000;
const CALLERS = 64;
/** Milliseconds of each measurement under load. */
const LENGTH = 1500;

const session = (number) => ({ cookie: { maxAge: 86_400_000 }, number, text: 'x'.repeat(280) });
const sid = (number) => `koa:sess:${number % SESSIONS}`;
const turn = () => new Promise(setImmediate);

async function load(operation) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const end = performance.now() + LENGTH;
  let count = 0;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      for (let number = caller; performance.now() < end; number += 7) {
        // An HTTP request takes a turn of the event loop, too.
        await turn();
        await operation(number);
        count += 1;
      }
    }),
  );
  const rate = (count / (performance.now() - start)) * 1000;
  delay.disable();
  return { rate, delay: delay.percentile(99) / 1e6 };
}

async function median(count, operation) {
  const times = [];
  for (let number = 0; number < count; number += 1) {
    const start = performance.now();
    await operation(number);
    times.push((performance.now() - start) * 1000);
  }
  return times.sort((one, other) => one - other)[count >> 1];
}

/** Microseconds of a read that JSON.parse takes; the rest is the store's. */
function parse() {
  const text = JSON.stringify(session(0));
  const start = performance.now();
  for (let number = 0; number < 20_000; number += 1) JSON.parse(text);
  return ((performance.now() - start) * 1000) / 20_000;
}

async function idle() {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await new Promise((resolve) => setTimeout(resolve, LENGTH));
  return delay.percentile(99) / 1e6;
}

/** The concurrency test of koa-generic-session-sequelize: 500 callers, after a warm-up round; in milliseconds. */
async function concurrent(store) {
  let taken;
  for (const round of ['warm', 'measured']) {
    const start = performance.now();
    await Promise.all(
      Array.from({ length: 500 }, async (_, number) => {
        const own = `${round} ${number}`;
        await store.set(own, session(number));
        await store.get(own);
        await store.destroy(own);
        await store.get(own);
      }),
    );
    taken = performance.now() - start;
  }
  return taken;
}

async function main() {
  const figures = { idleDelay: await idle() };
  const store = await STORES[name](directory);
  figures.concurrent = await concurrent(store);
  if (name !== 'the original') {
    for (let number = 0; number < SESSIONS; number += 1) await store.set(sid(number), session(number));
    figures.set = await median(300, (number) => store.set(sid(number), session(number)));
    const hot = async () => {
      const start = performance.now();
      for (let number = 0; number < 20_000; number += 1) await store.get(sid(number));
      return ((performance.now() - start) * 1000) / 20_000;
    };
    await hot();
    figures.get = await hot();
    figures.parse = parse();
    const sets = await load((number) => store.set(sid(number), session(number)));
    const mix = await load((number) => (number % 10 === 0 ? store.set(sid(number), session(number)) : store.get(sid(number))));
    const over = ({ delay }) => Math.max(0, delay - figures.idleDelay);
    Object.assign(figures, { sets: sets.rate, setsDelay: over(sets), mix: mix.rate, mixDelay: over(mix) });
  }
  await store.close();
  console.log(JSON.stringify(figures));
  // better-sqlite3-session-store has a timer that is never cleared.
  process.exit();
}

main();
