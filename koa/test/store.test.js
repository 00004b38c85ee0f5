'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const session = require('express-session');

const { SessionsError } = require('koa-wasi-sessions');
const { directory, filesIn, open, openStore } = require('./support.js');

const DAY = 86_400_000;

/** The life of a session since its last write, in milliseconds. */
async function life(store, sid) {
  const found = await store.read(sid);
  return found && found.expires - found.updated;
}

// The tests of koa-generic-session-sequelize (the original).

test('a session is read as it was written, and overwritten', async (t) => {
  const store = await openStore(t);
  await store.set('a', { name: 'first' });
  assert.deepEqual(await store.get('a'), { name: 'first' });
  await store.set('a', { name: 'second', list: [1, null] });
  assert.deepEqual(await store.get('a'), { name: 'second', list: [1, null] });
});

test('any text is kept', async (t) => {
  const store = await openStore(t);
  const session = { 名前: 'ユーザー', emoji: '👋🏽', nul: '\0', half: '\ud800' };
  await store.set('キー', session);
  assert.deepEqual(await store.get('キー'), session);
  assert.deepEqual((await store.read('キー')).data, session);
});

test('a session that is missing is null', async (t) => {
  const store = await openStore(t);
  assert.equal(await store.get('a'), null);
  assert.equal(await store.read('a'), null);
  assert.equal(await store.destroy('a'), false);
});

test('an expired session is missing, and stays in the table until it is collected', async (t) => {
  const store = await openStore(t, { gcFrequency: 0 });
  await store.set('a', {}, 1);
  await store.set('b', {}, 6_000_000);
  while ((await store.get('a')) !== null) await new Promise(setImmediate);
  assert.equal((await store.stats()).expired, 1);
  assert.equal((await store.collect()).removed, 1);
  assert.deepEqual(await store.get('b'), {});
});

test('a destroyed session is gone, and a late write does not bring it back', async (t) => {
  const store = await openStore(t);
  await store.set('a', {});
  assert.equal(await store.destroy('a'), true);
  assert.equal(await store.get('a'), null);
  assert.deepEqual(await store.set('a', {}), { outcome: 'gone' });
  assert.equal(await store.get('a'), null);
});

test('500 callers set, get, destroy and get sessions concurrently', async (t) => {
  const store = await openStore(t);
  await Promise.all(
    Array.from({ length: 500 }, async (_, number) => {
      const sid = `session ${number}`;
      await store.set(sid, { number });
      assert.deepEqual(await store.get(sid), { number });
      await store.destroy(sid);
      assert.equal(await store.get(sid), null);
    }),
  );
});

test('20 concurrent first writes of one session all succeed', async (t) => {
  const store = await openStore(t);
  const written = await Promise.all(Array.from({ length: 20 }, (_, number) => store.set('a', { number })));
  assert.deepEqual(written.map(({ version }) => version), Array.from({ length: 20 }, (_, number) => number + 1));
});

const FAR = { cookie: { expires: new Date(Date.now() + 5_000_000_000_000) } };
test('every ttl has one meaning', async (t) => {
  const store = await openStore(t);
  const rows = [
    [undefined, {}, DAY],
    [null, {}, DAY],
    [0, {}, DAY],
    [NaN, {}, DAY],
    ['session', {}, DAY],
    ['', {}, DAY],
    [false, {}, DAY],
    [{}, {}, DAY],
    [500_000, {}, 500_000],
    [500_000.9, {}, 500_000],
    ['500000', {}, 500_000],
    ['-1', {}, null],
    [-1, {}, null],
    [-Infinity, {}, null],
    [undefined, { cookie: { maxAge: 700_000 } }, 700_000],
    [0, { cookie: { maxAge: 700_000.9 } }, 700_000],
    [500_000, { cookie: { maxAge: 700_000 } }, 500_000],
    [undefined, { cookie: { maxAge: null } }, DAY],
    [undefined, { cookie: { maxAge: 0 } }, DAY],
    [undefined, { cookie: { maxAge: -1 } }, DAY],
    [undefined, { cookie: { maxAge: '700000' } }, DAY],
    [undefined, { cookie: { maxAge: 700_000, expires: new Date(0) } }, 700_000],
    [undefined, { cookie: { expires: new Date(0) } }, null],
    [undefined, { cookie: { expires: new Date(0).toISOString() } }, null],
    [undefined, { cookie: { expires: new Date(NaN) } }, DAY],
    [undefined, { cookie: { expires: 'never' } }, DAY],
    [undefined, { cookie: null }, DAY],
  ];
  for (const [index, [ttl, session, expected]] of rows.entries()) {
    const sid = `session ${index}`;
    await store.set(sid, session, ttl);
    assert.equal(await life(store, sid), expected, `${String(ttl)} for ${JSON.stringify(session)}`);
  }
});

test('the longest lives are not cut short', async (t) => {
  const store = await openStore(t);
  await store.set('a', {}, Infinity);
  assert.ok((await store.read('a')).expires > 9e18);
  await store.set('c', { cookie: { maxAge: Infinity } });
  assert.ok((await store.read('c')).expires > 9e18);
  const before = performance.now();
  await store.set('b', FAR);
  const took = performance.now() - before;
  // The life counts from when the component reads the clock.
  const late = (await store.read('b')).expires - FAR.cookie.expires.getTime();
  assert.ok(late >= -1 && late <= took + 1, `${late} ms after ${took} ms`);
});

test('browserSessionLifetime and absoluteLifetime limit the life', async (t) => {
  const store = await openStore(t, { browserSessionLifetime: 400_000, absoluteLifetime: 900_000 });
  await store.set('a', {}, 0);
  assert.equal(await life(store, 'a'), 400_000);
  await store.set('b', {}, Infinity);
  assert.equal(await life(store, 'b'), 900_000);
});

// Beyond the original.

test('an update of another version is stale, with the present session', async (t) => {
  const store = await openStore(t);
  await store.set('a', { by: 'first' });
  assert.equal((await store.update('a', { by: 'second' }, { version: 1 })).version, 2);
  const stale = await store.update('a', { by: 'third' }, { version: 1 });
  assert.equal(stale.outcome, 'stale');
  assert.deepEqual(stale.session.data, { by: 'second' });
  assert.deepEqual(await store.update('missing', {}), { outcome: 'gone' });
  assert.deepEqual(await store.get('a'), { by: 'second' });
});

test('a log-in moves the session to a new id and binds its subject', async (t) => {
  const store = await openStore(t, { maxPerSubject: 2 });
  const visitor = await store.create({ cart: 1 });
  const alice = await store.rotate(visitor.id, { subject: 'alice' });
  assert.match(alice.id, /^[\w-]{43}$/);
  assert.equal(await store.get(visitor.id), null);
  assert.deepEqual(await store.get(alice.id), { cart: 1 });
  const others = [await store.create({}, { subject: 'alice' }), await store.create({}, { subject: 'alice' })];
  assert.equal(await store.get(alice.id), null, 'the oldest of three is ended');
  assert.equal(await store.terminateSubject('alice', { except: others[0].id }), 1);
  assert.deepEqual(await store.get(others[0].id), {});
  assert.equal(await store.get(others[1].id), null);
});

test('listings name sessions by handles that end them', async (t) => {
  const store = await openStore(t);
  for (let number = 0; number < 5; number += 1) await store.create({ number }, { subject: 'alice' });
  const first = await store.listSessions({ subject: 'alice', limit: 3 });
  const second = await store.listSessions({ subject: 'alice', limit: 3, cursor: first.next });
  const all = [...first.sessions, ...second.sessions];
  assert.deepEqual([first.sessions.length, second.sessions.length, second.next], [3, 2, undefined]);
  const numbers = await Promise.all(all.map(async ({ handle }) => (await store.inspect(handle)).data.number));
  assert.deepEqual(numbers.sort(), [0, 1, 2, 3, 4]);
  assert.equal(await store.terminate(all[0].handle), true);
  assert.equal(await store.countSessions({ subject: 'alice' }), 4);
  assert.equal(await store.clear(), 4);
  assert.equal(await store.countSessions(), 0);
});

test('a patch changes only what it names', async (t) => {
  const store = await openStore(t);
  await store.set('a', { one: 1, two: { three: 3 } });
  assert.deepEqual((await store.merge('a', { two: { four: 4 }, one: null })).data, { two: { three: 3, four: 4 } });
  assert.deepEqual(await store.get('a'), { two: { three: 3, four: 4 } });
  assert.equal(await store.merge('missing', {}), null);
});

test('a touch renews a session and leaves its payload and version', async (t) => {
  const store = await openStore(t);
  await store.set('a', { x: 1 }, 500_000);
  const expires = await store.touch('a', 6_000_000);
  const { updated, version, data } = await store.read('a');
  assert.ok(expires >= updated + 6_000_000);
  assert.deepEqual([version, data], [1, { x: 1 }]);
  assert.equal(await store.touch('missing', 1), null);
});

test('a backup is a store that opens, and the source is sound', async (t) => {
  const store = await openStore(t);
  await store.set('a', { x: 1 });
  const target = directory(t);
  fs.mkdirSync(target);
  await store.backup(path.join(target, 'sessions.db'));
  assert.equal(fs.statSync(path.join(target, 'sessions.db')).mode & 0o777, 0o600);
  assert.deepEqual(await store.check(), []);
  await assert.rejects(store.backup(path.join(target, 'sessions.db')), { code: 'invalid-argument' });
  await assert.rejects(store.backup(path.join(target, 'missing', 'a')), { code: 'directory' });
  const copy = await open({ directory: target });
  assert.deepEqual(await copy.get('a'), { x: 1 });
  await copy.close();
});

test('options of the original are accepted, and the error names an unknown one', async (t) => {
  const store = await openStore(t, {
    tableName: 'Other',
    modelName: 'Name',
    sync: true,
    syncTimeout: 1000,
    gcFrequency: -1,
    timestamps: false,
    browserSessionLifetime: 1000,
  });
  assert.equal((await store.stats()).name, 'Name');
  await assert.rejects(open({ directory: directory(t), tabelName: 'a' }), /unknown name `tabelName`/);
  await assert.rejects(open({ directory: directory(t), logging: console.log }), /unknown name `logging`/);
  for (const wrong of [{ gcStep: 0 }, { maxData: 1n }, { tombstone: NaN }, { maxData: Infinity }, { sync: () => true }, { modelName: Symbol('a') }]) {
    await assert.rejects(open({ directory: directory(t), ...wrong }), { code: 'invalid-argument' }, Object.keys(wrong)[0]);
  }
  await assert.rejects(open({}), { code: 'invalid-argument' });
  await assert.rejects(open({ directory: directory(t), file: '../a.db' }), { code: 'invalid-argument' });
});

test('errors have a code and never a payload or an id', async (t) => {
  const store = await openStore(t, { maxData: 100 });
  const failed = await store.set('my-id', { secret: 'x'.repeat(200) }).catch((error) => error);
  assert.ok(failed instanceof SessionsError && failed instanceof Error);
  assert.deepEqual([failed.code, failed.limit, failed.message], ['too-large', 100, 'the session is longer than 100 bytes']);
  const circular = {};
  circular.self = circular;
  for (const session of [undefined, circular, { big: 1n }, () => {}]) {
    await assert.rejects(store.set('my-id', session), { code: 'invalid-argument' });
  }
  await assert.rejects(store.listSessions({ limit: 0 }), { code: 'invalid-argument' });
  await assert.rejects(store.listSessions({ limit: 1.5 }), { code: 'invalid-argument' });
  for (const cursor of [5, ['a', 'b'], () => {}, 'no cursor']) {
    await assert.rejects(store.listSessions({ cursor }), { code: 'invalid-argument' });
  }
  for (const handle of [undefined, 5, ['a'], Symbol('a'), 'no handle']) {
    assert.equal(await store.inspect(handle), null);
    assert.equal(await store.terminate(handle), false);
  }
  await assert.rejects(store.create({}, { subject: '' }), { code: 'invalid-argument' });
  await assert.rejects(store.create({}, { subject: '\ud800' }), { code: 'invalid-argument' });
});

test('an id that cannot exist is absent, and only a write refuses it', async (t) => {
  const store = await openStore(t);
  for (const sid of [undefined, null, 5, {}, '', 'a'.repeat(256), 'ü'.repeat(200), '\ud800']) {
    assert.equal(await store.get(sid), null);
    assert.equal(await store.touch(sid), null);
    assert.equal(await store.destroy(sid), false);
    assert.equal(await store.rotate(sid), null);
    assert.deepEqual(await store.update(sid, {}), { outcome: 'gone' });
    await assert.rejects(store.set(sid, {}), { code: 'invalid-argument' });
  }
});

test('a closed store refuses everything, and can be closed again', async (t) => {
  const store = await openStore(t);
  const last = store.set('a', {});
  await store.close();
  assert.equal((await last).outcome, 'written');
  await assert.rejects(store.get('b'), { code: 'closed' });
  await store.close();
});

test('a closed store leaves no write-ahead log behind', async (t) => {
  const where = directory(t);
  const store = await open({ directory: where });
  await store.set('a', {});
  await store.close();
  assert.deepEqual(fs.readdirSync(where).filter((name) => name.endsWith('-wal')), []);
});

test('directories and files are private', async (t) => {
  const where = directory(t);
  const store = await open({ directory: where });
  t.after(() => store.close());
  await store.set('a', {});
  assert.equal(fs.statSync(where).mode & 0o777, 0o700);
  for (const name of filesIn(where)) assert.equal(fs.statSync(name).mode & 0o777, 0o600, name);
});

test('a payload that is not JSON counts as missing, and is reported', async (t) => {
  const where = directory(t);
  const store = await open({ directory: where });
  t.after(() => store.close());
  const failures = [];
  store.on('failure', (error, verb) => failures.push([error.code, verb]));
  await store.set('a', 'x'.repeat(64));
  // This store writes only JSON, but a Rust program may have stored anything.
  await store.close();
  const file = path.join(where, 'sessions.db');
  fs.writeFileSync(file, Buffer.from(fs.readFileSync(file, 'latin1').replace(`"${'x'.repeat(64)}"`, `"${'x'.repeat(64)}(`), 'latin1'));
  const again = await open({ directory: where });
  t.after(() => again.close());
  again.on('failure', (error, verb) => failures.push([error.code, verb]));
  assert.equal(await again.get('a'), null);
  assert.deepEqual(failures.splice(0), [['corrupt', 'get']]);
  await again.set('b', { b: 1 });
  const express = again.express(session);
  assert.deepEqual(await promisify(express.all).call(express), [{ b: 1 }]);
  assert.deepEqual(failures, [['corrupt', 'get']]);
  await assert.rejects(again.read('a'), { code: 'corrupt' });
});
