'use strict';

// Compares the store with others on this machine: medians of interleaved rounds, with a
// process for each measurement. The other stores are loaded from the folder BENCH_MODULES:
//
//     npm install --prefix FOLDER better-sqlite3 better-sqlite3-session-store \
//         koa-generic-session-sequelize sequelize sqlite3
//     BENCH_MODULES=FOLDER npm run bench
//
// On a machine that is not idle, run it with `chrt -r 5`: otherwise the time slices of other
// programs affect every figure.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { STORES } = require('./stores.js');

const ROUNDS = Number(process.env.ROUNDS ?? 5);

const ROWS = [
  ['set', 'one set after another, µs'],
  ['get', 'a read that is in memory, µs'],
  ['parse', '… of which JSON.parse alone, µs'],
  ['sets', '64 callers: sets a second'],
  ['setsDelay', '… event-loop delay over that of an idle process, p99, ms'],
  ['mix', '64 callers, 9 reads to a set: operations a second'],
  ['mixDelay', '… event-loop delay over that of an idle process, p99, ms'],
  ['idleDelay', 'event-loop delay of an idle process, p99, ms'],
  ['concurrent', '500 times set, get, destroy, get at once, ms'],
];

/** The figures of one process; `undefined`, and the reason on standard error, if it failed. */
function measure(name) {
  const directory = fs.mkdtempSync(path.join(process.env.BENCH_DIRECTORY ?? os.tmpdir(), 'bench-'));
  try {
    const parameters = [path.join(__dirname, 'measure.js'), name, directory];
    const { stdout, stderr, status, signal } = spawnSync(process.execPath, parameters, { encoding: 'utf8' });
    if (status === 0) return JSON.parse(stdout);
    const reason = stderr.split('\n').find((line) => /^\S*Error\b/.test(line)) ?? (stderr.trim() || `it ended with ${signal ?? status}`);
    console.error(`${name} is left out: ${reason}`);
    return undefined;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const figures = new Map(Object.keys(STORES).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, measured] of figures) {
    const found = measure(name);
    if (found) measured.push(found);
    else figures.delete(name);
  }
}

const names = [...figures.keys()];
console.log(`Node ${process.versions.node}, ${os.cpus().length} cores, medians of ${ROUNDS} rounds\n`);
console.log(`| | ${names.join(' | ')} |`);
console.log(`|-|${'-|'.repeat(names.length)}`);
for (const [key, title] of ROWS) {
  const cells = names.map((name) => {
    const values = figures.get(name).map((measured) => measured[key]).filter((value) => value !== undefined);
    values.sort((one, other) => one - other);
    const value = values[values.length >> 1];
    return value === undefined ? '' : value.toFixed(value < 100 ? 1 : 0);
  });
  console.log(`| ${title} | ${cells.join(' | ')} |`);
}
