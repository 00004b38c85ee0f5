'use strict';

// The lease of `shared` access, which a store with exclusive access holds, too.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { Lease } = require('../lib/lease.js');
const { directory, filesIn, open, run, withPrograms, workers } = require('./support.js');

const OTHER = '0123456789abcdef';

/** A new directory with the path of its lease, which a token of another owner holds if `name` is given. */
function place(t, name, seconds = 0) {
  const where = directory(t);
  const lock = path.join(where, 'sessions.db.lock');
  if (name !== undefined) hold(lock, name, seconds);
  return { where, lock };
}

/** Makes a token that was renewed so many seconds ago. */
function hold(lock, name, seconds) {
  fs.mkdirSync(lock, { recursive: true });
  fs.writeFileSync(path.join(lock, name), '1');
  grow(path.join(lock, name), seconds);
}

function grow(token, seconds) {
  const then = Date.now() / 1000 - seconds;
  fs.utimesSync(token, then, then);
}

function locks(where) {
  return fs.readdirSync(where).filter((name) => name.includes('.lock'));
}

/** The token in a lease. */
function token(lock) {
  const [name, ...others] = fs.readdirSync(lock);
  assert.deepEqual(others, []);
  return path.join(lock, name);
}

/** The error of the first write that fails. */
async function failure(store) {
  for (;;) {
    const error = await store.set('a', { by: 'loser' }).then(() => undefined, (error) => error);
    if (error) return error;
  }
}

test('an exclusive store has the lease of shared access until it is closed', async (t) => {
  const { where, lock } = place(t);
  const store = await open({ directory: where });
  assert.match(path.basename(token(lock)), /^exclusive-[0-9a-f]{16}$/);
  assert.equal(fs.statSync(lock).mode & 0o777, 0o700);
  assert.equal(fs.statSync(token(lock)).mode & 0o777, 0o600);
  await store.set('a', { x: 1 });
  await store.close();
  assert.deepEqual(locks(where), []);
});

test('options that are undefined have their defaults', async (t) => {
  const { where } = place(t);
  const store = await open({ directory: where, access: undefined, syncTimeout: undefined, file: undefined });
  assert.equal(locks(where).length, 1);
  await store.set('a', { x: 1 });
  await store.close();
});

test('a lease of a live instance is waited for during syncTimeout, then refused', async (t) => {
  const { where, lock } = place(t, OTHER, -3600);
  await assert.rejects(open({ directory: where, syncTimeout: 20 }), { code: 'in-use', message: /`access: 'shared'`/ });
  assert.deepEqual(locks(where), ['sessions.db.lock']);
  assert.ok(fs.existsSync(path.join(lock, OTHER)));
  const opened = open({ directory: where, syncTimeout: 60_000 });
  fs.rmSync(lock, { recursive: true });
  await (await opened).close();
});

for (const [what, name, seconds] of [
  ['of an instance that is dead', OTHER, 16],
  ['of a host that is dead', `exclusive-${OTHER}`, 0],
  ['that is empty', undefined, 0],
]) {
  test(`a lease ${what} is taken over at once`, async (t) => {
    const { where, lock } = place(t, name, seconds);
    fs.mkdirSync(lock, { recursive: true });
    const store = await open({ directory: where, syncTimeout: 0 });
    assert.match(path.basename(token(lock)), /^exclusive-/);
    assert.ok(Date.now() - fs.statSync(token(lock)).mtimeMs < 10_000);
    assert.deepEqual(locks(where), ['sessions.db.lock']);
    await store.close();
    assert.deepEqual(locks(where), []);
  });
}

test('a process that was killed does not delay the next one', async (t) => {
  const { where, lock } = place(t);
  const owner = run(t, where, `open({ directory }).then(async (store) => { await store.set('a', { x: 1 }); say('ready'); setInterval(() => {}, 1000); });`);
  await owner.next();
  await owner.end('SIGKILL');
  assert.ok(fs.existsSync(lock));
  const store = await open({ directory: where, syncTimeout: 0 });
  assert.deepEqual(await store.get('a'), { x: 1 });
  await store.close();
});

test('a file in the place of a lease is named', async (t) => {
  const { where, lock } = place(t);
  fs.mkdirSync(where);
  fs.writeFileSync(lock, 'kept');
  await assert.rejects(open({ directory: where }), { code: 'directory', message: /sessions\.db\.lock/ });
  assert.equal(fs.readFileSync(lock, 'utf8'), 'kept');
  assert.deepEqual(locks(where), ['sessions.db.lock']);
});

test('a store whose lease was taken over fails, and changes nothing even when it is closed', async (t) => {
  const { where, lock } = place(t);
  const store = await open({ directory: where });
  await store.set('a', { x: 1 });
  const taken = path.join(lock, OTHER);
  fs.renameSync(token(lock), taken);
  // As the next owner does, after it has copied the log into the database.
  fs.unlinkSync(path.join(where, 'sessions.db-wal'));
  const lost = await failure(store);
  assert.equal(lost.code, 'lock-lost');
  assert.match(lost.message, /open the store again/);
  await assert.rejects(store.check(), { code: 'lock-lost' });
  const contents = () => filesIn(where).map((name) => [name, fs.readFileSync(name)]);
  const before = contents();
  await store.close();
  assert.deepEqual(contents(), before);
  assert.ok(fs.existsSync(taken));
});

test('a worker that is started after the lease was taken over does not open the database', async (t) => {
  const { where, lock } = place(t);
  const started = workers(t);
  const store = await open({ directory: where });
  await store.set('a', { x: 1 });
  fs.renameSync(token(lock), path.join(lock, OTHER));
  await started[0].terminate();
  await assert.rejects(store.set('a', { x: 2 }), { code: 'lock-lost' });
  await store.close();
  assert.ok(fs.existsSync(path.join(lock, OTHER)));
});

test('a lease is renewed while its process does nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { where, lock } = place(t);
  fs.mkdirSync(where);
  const lease = await Lease.take(path.join(where, 'sessions.db'), 0);
  grow(lease.token, 14);
  const before = fs.statSync(lease.token).mtimeMs;
  t.mock.timers.tick(5000);
  while (fs.statSync(lease.token).mtimeMs === before) await new Promise(setImmediate);
  assert.ok(Date.now() - fs.statSync(lease.token).mtimeMs < 10_000);
  lease.release();
  assert.ok(!fs.existsSync(lock));
});

test('stores with shared access and one with exclusive access take turns and lose nothing', (t) => {
  const { where } = place(t);
  const { PATH } = process.env;
  // Without a program that locks, the shared store is as one in a composed component.
  return withPrograms(t, {}, async () => {
    const shared = (options) => open({ directory: where, access: 'shared', ...options });
    const [patient, impatient] = [await shared(), await shared({ syncTimeout: 0 })];
    await patient.set('a', { by: 'shared' });
    const bin = process.env.PATH;
    process.env.PATH = PATH;
    const exclusive = await open({ directory: where });
    process.env.PATH = bin;
    await assert.rejects(impatient.set('a', { by: 'none' }), { code: 'busy' });
    await assert.rejects(shared({ syncTimeout: 0 }), { code: 'busy' });
    assert.deepEqual(await exclusive.get('a'), { by: 'shared' });
    await exclusive.set('a', { by: 'exclusive' });
    await exclusive.close();
    assert.deepEqual(await patient.get('a'), { by: 'exclusive' });
    assert.equal((await patient.set('a', { by: 'shared' })).outcome, 'written');
    // One that was refused has to open the database again.
    let found;
    while (!found) found = await impatient.get('a').catch(({ code }) => assert.equal(code, 'busy'));
    assert.deepEqual(found, { by: 'shared' });
    assert.deepEqual(await patient.check(), []);
    await Promise.all([patient.close(), impatient.close()]);
  });
});
