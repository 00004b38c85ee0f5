'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { HOST, Program, directory, noHost, open, run, which, withPrograms, workers } = require('./support.js');

for (const program of ['flock', 'perl']) {
  test(`with ${program}, a second owner is refused until the first has closed`, { skip: !which(program) }, (t) =>
    withPrograms(t, { [program]: '' }, async () => {
      const where = directory(t);
      const store = await open({ directory: where });
      const refused = { code: 'in-use', message: /one process only.*`access: 'shared'`/ };
      await assert.rejects(open({ directory: where }), refused);
      await assert.rejects(open({ directory: where, access: 'shared' }), refused);
      await store.close();
      await (await open({ directory: where })).close();
    }),
  );
}

test('the lock is flock(2) on the directory, as in the Rust host', { skip: !which('flock') }, async (t) => {
  const where = directory(t);
  const store = await open({ directory: where });
  const flock = () => spawnSync('flock', ['-n', where, 'true']).status;
  assert.equal(flock(), 1);
  await store.close();
  assert.equal(flock(), 0);
});

test('a program that reports success without locking is not trusted', (t) =>
  withPrograms(t, { flock: '#!/bin/sh\nexit 0\n' }, () =>
    assert.rejects(open({ directory: directory(t) }), { code: 'no-lock', message: /Install `flock`/ }),
  ));

test('without a program that can lock, only shared access is possible', (t) =>
  withPrograms(t, {}, async () => {
    await assert.rejects(open({ directory: directory(t) }), { code: 'no-lock' });
    const where = directory(t);
    const [one, other] = [await open({ directory: where, access: 'shared' }), await open({ directory: where, access: 'shared' })];
    await one.set('a', { x: 1 });
    assert.deepEqual(await other.get('a'), { x: 1 });
    await other.set('a', { x: 2 });
    assert.deepEqual(await one.get('a'), { x: 2 }, 'nothing is cached');
    await Promise.all([one.close(), other.close()]);
  }));

test('a store that is refused holds no lock', async (t) => {
  const where = directory(t);
  await assert.rejects(open({ directory: where, unknown: 1 }), { code: 'invalid-argument' });
  await (await open({ directory: where })).close();
});

test('a process that was killed leaves nothing that has to be removed', async (t) => {
  const where = directory(t);
  const owner = run(t, where, `open({ directory }).then(async (store) => { await store.set('a', { x: 1 }); say('ready'); setInterval(() => {}, 1000); });`);
  await owner.next();
  await assert.rejects(open({ directory: where }), { code: 'in-use' });
  await owner.end('SIGKILL');
  const store = await open({ directory: where });
  assert.deepEqual(await store.get('a'), { x: 1 });
  await store.close();
});

test('of two processes that start at the same time, one gets the directory', async (t) => {
  const where = directory(t);
  const text = `open({ directory }).then(() => { say('open'); setInterval(() => {}, 1000); }, (error) => say(error.code));`;
  const said = await Promise.all([run(t, where, text).next(), run(t, where, text).next()]);
  assert.deepEqual(said.sort(), ['in-use', 'open']);
});

test('a Node process and the Rust host exclude each other, and read what the other wrote', { skip: noHost }, async (t) => {
  const where = directory(t);
  const host = (...parameters) => spawnSync(HOST, [...parameters, '--directory', where], { encoding: 'utf8' });
  const store = await open({ directory: where });
  await store.set('from node', { x: 1 });
  const refused = host('get', 'from node');
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /use/);
  await store.close();
  assert.match(host('get', 'from node').stdout, /"x":1/);
  const id = host('create', '{"y":2}').stdout.trim();
  const again = await open({ directory: where });
  assert.deepEqual(await again.get(id), { y: 2 });
  await again.close();
});

test('Node is refused while the Rust host has the directory, and opens it as soon as the host was killed', { skip: noHost }, async (t) => {
  const where = directory(t);
  const impatient = { directory: where, syncTimeout: 0 };
  const store = await open(impatient);
  await store.set('a', { x: 1 });
  await store.close();
  const host = new Program(t, ['serve', '--address', '127.0.0.1:0', '--directory', where], { program: HOST });
  const { value: url } = await host.lines.next();
  assert.match(url, /http:/, host.errors);
  for (const access of ['exclusive', 'shared']) await assert.rejects(open({ ...impatient, access }), { code: 'in-use' });
  await host.end('SIGKILL');
  const again = await open(impatient);
  assert.deepEqual(await again.get('a'), { x: 1 });
  await again.close();
});

test('the Rust host opens the directory as soon as a Node process was killed', { skip: noHost }, async (t) => {
  const where = directory(t);
  const owner = run(t, where, `open({ directory }).then(async (store) => { await store.set('a', { x: 1 }); say('ready'); setInterval(() => {}, 1000); });`);
  await owner.next();
  await owner.end('SIGKILL');
  const { stdout, stderr } = spawnSync(HOST, ['get', 'a', '--directory', where], { encoding: 'utf8' });
  assert.match(stdout, /"x":1/, stderr);
});

test('a store notices that its directory was moved, and does not change the one at its old path', async (t) => {
  const where = directory(t);
  const first = await open({ directory: where });
  await first.set('a', { by: 'first' });
  fs.renameSync(where, `${where}.old`);
  const second = await open({ directory: where });
  await second.set('a', { by: 'second' });
  let failed;
  while (!failed) failed = await first.set('a', { by: 'first' }).then(() => null, (error) => error);
  assert.equal(failed.code, 'replaced');
  await first.close();
  await second.set('b', {});
  assert.deepEqual((await second.check()), []);
  assert.ok(fs.existsSync(path.join(where, 'sessions.db-wal')));
  await second.close();
});

test('a worker that is started after its directory was moved notices it, too', async (t) => {
  const started = workers(t);
  const where = directory(t);
  const store = await open({ directory: where });
  await store.set('a', {});
  fs.renameSync(where, `${where}.old`);
  fs.mkdirSync(where);
  await started[0].terminate();
  await assert.rejects(store.set('a', {}), { code: 'replaced' });
  assert.deepEqual(fs.readdirSync(where), []);
  await store.close();
});

test("Node's permission model is refused with a message", async (t) => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const where = directory(t);
  const program = run(t, where, `open({ directory }).catch((error) => say([error.code, error.message]));`, {
    parameters: [flag, '--allow-fs-read=*', '--allow-fs-write=*', '--allow-child-process', '--allow-worker'],
  });
  const [code, message] = await program.next();
  assert.equal(code, 'no-sync');
  assert.match(message, /permission model/);
});
