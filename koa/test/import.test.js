'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { recordData } = require('../lib/import/message_pack.js');
const { directory, open } = require('./support.js');

let sqlite;
try {
  sqlite = require('node:sqlite');
} catch {
  // Node 20 has none.
}

const HOUR = 3_600_000;

/** A database with these statements; a statement with values is `[text, ...values]`. */
function database(t, statements) {
  const where = directory(t);
  fs.mkdirSync(where);
  const file = path.join(where, 'old.db');
  const made = new sqlite.DatabaseSync(file);
  for (const [statement, ...values] of statements.map((given) => [].concat(given))) made.prepare(statement).run(...values);
  made.close();
  return file;
}

function command(...parameters) {
  return commandWith({}, ...parameters);
}

/** Runs the command under Node with these flags, and these variables in its environment. */
function commandWith({ flags = [], variables = {} }, ...parameters) {
  const program = path.join(__dirname, '..', 'bin', 'wasi-sessions.js');
  return spawnSync(process.execPath, [...flags, program, ...parameters], { encoding: 'utf8', env: { ...process.env, ...variables } });
}

/** A record of tower-sessions with the data {"visits": 3, "large": 2^63, "deep": [true, null, -1, "ü", 1.5]}. */
const RECORD = Buffer.concat([
  Buffer.from([0x93, 0xc4, 16]),
  Buffer.alloc(16, 7),
  Buffer.from([0x83, 0xa6]),
  Buffer.from('visits'),
  Buffer.from([3, 0xa5]),
  Buffer.from('large'),
  Buffer.from([0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xa4]),
  Buffer.from('deep'),
  Buffer.from([0x95, 0xc3, 0xc0, 0xff, 0xa2]),
  Buffer.from('ü'),
  Buffer.from([0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
  Buffer.from([0x99, 1, 2, 3, 4, 5, 6, 0, 0, 0]),
]);

test('a record of tower-sessions is read without losing a digit, and a broken one is refused', () => {
  assert.equal(recordData(RECORD), '{"visits":3,"large":9223372036854775808,"deep":[true,null,-1,"ü",1.5]}');
  for (let length = 0; length < RECORD.length - 10; length += 1) assert.throws(() => recordData(RECORD.subarray(0, length)));
  assert.throws(() => recordData(Buffer.concat([Buffer.from([0x93, 1]), Buffer.alloc(1000, 0x91)])));
  assert.throws(() => recordData(Buffer.from([0x93, 1, 0xc1, 1])));
});

const soon = () => Date.now() + HOUR;
const SOURCES = {
  'koa-generic-session-sequelize': () => [
    'CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT, createdAt DATETIME, updatedAt DATETIME)',
    ['INSERT INTO Sessions (id, data, expires) VALUES (?, ?, ?)', 'live', '{"x":1}', Math.floor(soon() / 1000)],
    ['INSERT INTO Sessions (id, data, expires) VALUES (?, ?, ?)', 'old', '{"x":2}', 1000],
    ['INSERT INTO Sessions (id, data, expires) VALUES (?, ?, ?)', 'broken', '{"x":', Math.floor(soon() / 1000)],
    ['INSERT INTO Sessions (id, data, expires) VALUES (?, ?, ?)', 'without end', '{}', null],
  ],
  'connect-sqlite3': () => [
    'CREATE TABLE sessions (sid PRIMARY KEY, expired, sess)',
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'live', soon(), '{"x":1}'],
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'old', 1000, '{"x":2}'],
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'broken', soon(), '5'],
    ['INSERT INTO sessions VALUES (?, ?, ?)', 5, soon(), '{}'],
  ],
  'better-sqlite3-session-store': () => [
    'CREATE TABLE sessions (sid TEXT NOT NULL PRIMARY KEY, sess JSON NOT NULL, expire TEXT NOT NULL)',
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'live', '{"x":1}', new Date(soon()).toISOString()],
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'old', '{"x":2}', new Date(0).toISOString()],
    ['INSERT INTO sessions VALUES (?, ?, ?)', 'broken', '{"x":1}', 'no date'],
    ['INSERT INTO sessions VALUES (?, ?, ?)', '', '{"x":1}', new Date(soon()).toISOString()],
  ],
  'tower-sessions': () => [
    'CREATE TABLE tower_sessions (id text primary key not null, data blob not null, expiry_date integer not null)',
    ['INSERT INTO tower_sessions VALUES (?, ?, ?)', 'live', RECORD, new Date(soon()).toISOString()],
    ['INSERT INTO tower_sessions VALUES (?, ?, ?)', 'old', RECORD, 1000],
    ['INSERT INTO tower_sessions VALUES (?, ?, ?)', 'broken', RECORD.subarray(0, 30), Math.floor(soon() / 1000)],
    ['INSERT INTO tower_sessions VALUES (?, ?, ?)', 'text', '{}', Math.floor(soon() / 1000)],
  ],
};

for (const [name, statements] of Object.entries(SOURCES)) {
  test(`sessions of ${name} are imported once`, { skip: !sqlite }, async (t) => {
    const from = database(t, statements());
    const where = directory(t);
    const first = command('import', '--from', from, '--directory', where);
    assert.match(first.stdout, new RegExp(`of ${name}: 1 imported, 0 there already, 1 expired, 2 broken`), first.stderr);
    const store = await open({ directory: where });
    const { data, expires } = await store.read('live');
    assert.equal(data.x ?? data.visits, name === 'tower-sessions' ? 3 : 1);
    assert.ok(Math.abs(expires - soon()) < 60_000);
    assert.equal(await store.countSessions(), 1);
    await store.set('live', { changed: true });
    await store.close();
    assert.match(command('import', '--from', from, '--directory', where).stdout, /: 0 imported, 1 there already/);
    const again = await open({ directory: where });
    assert.deepEqual(await again.get('live'), { changed: true });
    await again.close();
  });
}

test('sessions are imported into an encrypted store, with the key from the environment', { skip: !sqlite }, async (t) => {
  const from = database(t, SOURCES['connect-sqlite3']());
  const where = directory(t);
  const [key, next] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString('base64'));
  const imported = (variables) => commandWith({ variables }, 'import', '--from', from, '--directory', where);
  const first = imported({ WASI_SESSIONS_KEY: key });
  assert.match(first.stdout, /: 1 imported/, first.stderr);
  for (const wrong of [{}, { WASI_SESSIONS_KEY: '' }, { WASI_SESSIONS_KEY: next }]) {
    const refused = imported(wrong);
    assert.match(refused.stderr, /`key`/);
    assert.equal(refused.stderr.includes(next), false);
  }
  const changed = imported({ WASI_SESSIONS_KEY: next, WASI_SESSIONS_PREVIOUS_KEY: key });
  assert.match(changed.stdout, /: 0 imported, 1 there already/, changed.stderr);
});

test('a table of koa-generic-session-sequelize is migrated in place', { skip: !sqlite }, async (t) => {
  const file = database(t, SOURCES['koa-generic-session-sequelize']().slice(0, 3));
  const store = await open({ directory: path.dirname(file), file: path.basename(file) });
  assert.deepEqual(await store.get('live'), { x: 1 });
  assert.equal(await store.countSessions(), 1);
  await store.close();
});

test('a thousand sessions are imported, and a wrong source is refused with a message', { skip: !sqlite }, async (t) => {
  const from = database(t, [
    'CREATE TABLE sessions (sid PRIMARY KEY, expired, sess)',
    'CREATE TABLE other (id, data, expires)',
    [`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
      INSERT INTO sessions SELECT 'session ' || i, ?, '{"i":' || i || '}' FROM n`, soon()],
  ]);
  const where = directory(t);
  assert.match(command('import', '--from', from, '--directory', where).stderr, /several tables can be imported: sessions, other; name one with `--table`/);
  assert.match(command('import', '--from', from, '--directory', where, '--table', 'sessions').stdout, /1000 imported/);
  assert.match(command('import', '--from', from, '--directory', where, '--table', 'missing').stderr, /no table `missing`/);
  assert.match(command('import', '--from', `${from}.missing`, '--directory', where).stderr, /cannot read/);
  assert.match(command('import').stderr, /wrong usage/);
  assert.match(command('--help').stdout, /--from FILE/);
});

test('large sessions are imported a few at a time, and too large ones are broken', { skip: !sqlite }, async (t) => {
  const from = database(t, [
    'CREATE TABLE sessions (sid PRIMARY KEY, expired, sess)',
    [`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
      INSERT INTO sessions SELECT 'session ' || i, ?, '{"text":"' || replace(hex(zeroblob(500000)), '00', 'xx') || '"}' FROM n`, soon()],
    [`INSERT INTO sessions SELECT 'huge ' || value, ?, '{"text":"' || replace(hex(zeroblob(15000000)), '00', 'xx') || '"}'
      FROM json_each('[1,2,3,4,5,6,7,8]')`, soon()],
  ]);
  const measured = ['--import', 'data:text/javascript,process.on("exit", () => console.error(process.resourceUsage().maxRSS >> 10, "MiB"))'];
  const { stdout, stderr } = commandWith({ flags: measured }, 'import', '--from', from, '--directory', directory(t));
  assert.match(stdout, /90 imported, 0 there already, 0 expired, 8 broken/, stderr);
  assert.ok(Number(/(\d+) MiB/.exec(stderr)[1]) < 400, stderr);
});

test('a damaged database is refused with a message, and the store stays sound', { skip: !sqlite }, async (t) => {
  const from = database(t, [
    'PRAGMA page_size = 512',
    'CREATE TABLE sessions (sid PRIMARY KEY, expired, sess)',
    [`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
      INSERT INTO sessions SELECT 'session ' || i, ?, '{"i":' || i || '}' FROM n`, soon()],
  ]);
  const size = fs.statSync(from).size;
  const damaged = fs.openSync(from, 'r+');
  fs.writeSync(damaged, Buffer.alloc(size >> 2, 0xff), 0, size >> 2, size - (size >> 2));
  fs.closeSync(damaged);
  const where = directory(t);
  const { stderr, status } = command('import', '--from', from, '--directory', where);
  assert.equal(status, 1);
  assert.match(stderr, /cannot read `.*`: database disk image is malformed/);
  assert.doesNotMatch(stderr, /at .*\.js/);
  const store = await open({ directory: where });
  assert.deepEqual(await store.check(), []);
  await store.close();
  for (const text of ['', 'no database', '<html>'.repeat(1000)]) {
    fs.writeFileSync(`${from}.txt`, text);
    assert.match(command('import', '--from', `${from}.txt`, '--directory', where).stderr, /cannot read|no table/);
  }
});

test('under a Node without SQLite, the import names the version that it needs', { skip: Boolean(sqlite) }, (t) => {
  const { stderr, status } = command('import', '--from', 'old.db', '--directory', directory(t));
  assert.match(stderr, /needs Node 22\.13/);
  assert.equal(status, 1);
});
