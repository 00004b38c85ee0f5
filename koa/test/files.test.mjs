import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { Descriptor, Root } from '../lib/worker/files.mjs';

function directory(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'koa-wasi-sessions-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  fs.mkdirSync(path.join(made, 'root'));
  fs.writeFileSync(path.join(made, 'outside'), 'secret');
  return { outside: path.join(made, 'outside'), base: path.join(made, 'root') };
}

/** WASI's error code with which an operation fails. */
function code(operation) {
  try {
    operation();
  } catch (error) {
    assert.equal(typeof error, 'string', `${error?.stack}`);
    return error;
  }
  return undefined;
}

const READ = { read: true };
const WRITE = { read: true, write: true };
const CREATE = { create: true };

test('nothing outside of the directory can be reached', (t) => {
  const { base, outside } = directory(t);
  const root = Descriptor.ofRoot(new Root(base));
  fs.symlinkSync(outside, path.join(base, 'link'));
  fs.symlinkSync(path.dirname(outside), path.join(base, 'up'));
  for (const name of ['../outside', '..', 'a/../../outside', outside, 'a\0b', '.wasi-sessions.lock', '.WASI-sessions']) {
    assert.equal(code(() => root.openAt({}, name, CREATE, WRITE)), 'not-permitted', name);
    assert.equal(code(() => root.statAt({}, name)), 'not-permitted', name);
    assert.equal(code(() => root.unlinkFileAt(name)), 'not-permitted', name);
    assert.equal(code(() => root.renameAt('a', root, name)), 'not-permitted', name);
  }
  assert.equal(code(() => root.openAt({ symlinkFollow: true }, 'link', {}, READ)), 'loop');
  assert.equal(code(() => root.openAt({}, 'up/outside', {}, READ)), 'not-directory');
  assert.equal(code(() => root.readlinkAt('link')), 'not-permitted');
  assert.equal(root.statAt({}, 'link').type, 'symbolic-link');
  assert.equal(fs.readFileSync(outside, 'utf8'), 'secret');
});

test('files are read and written at any offset, and are private', (t) => {
  const { base } = directory(t);
  const root = Descriptor.ofRoot(new Root(base));
  const before = process.umask(0);
  const file = root.openAt({}, 'a', CREATE, WRITE);
  root.createDirectoryAt('folder');
  process.umask(before);
  assert.equal(fs.statSync(path.join(base, 'a')).mode & 0o777, 0o600);
  assert.equal(fs.statSync(path.join(base, 'folder')).mode & 0o777, 0o700);
  assert.equal(file.write(Buffer.from('hello'), 3n), 5n);
  const [bytes, isEnd] = file.read(100n, 4n);
  assert.deepEqual([bytes.toString(), isEnd], ['ello', true]);
  assert.equal(file.stat().size, 8n);
  file.setSize(4n);
  file.syncData();
  file.sync();
  root.syncData();
  assert.equal(file.stat().size, 4n);
  root.renameAt('a', root.openAt({}, 'folder', { directory: true }, READ), 'b');
  assert.equal(root.statAt({}, 'folder/b').type, 'regular-file');
  assert.deepEqual(root.metadataHashAt({}, 'folder/b'), file.metadataHash());
});

test('failures are codes of WASI', (t) => {
  const { base } = directory(t);
  const root = Descriptor.ofRoot(new Root(base));
  const file = root.openAt({}, 'a', { create: true, exclusive: true }, WRITE);
  root.createDirectoryAt('folder');
  assert.equal(code(() => root.openAt({}, 'a', { create: true, exclusive: true }, WRITE)), 'exist');
  assert.equal(code(() => root.openAt({}, 'missing', {}, READ)), 'no-entry');
  assert.equal(code(() => root.openAt({}, 'a', { directory: true }, READ)), 'not-directory');
  assert.equal(code(() => root.openAt({}, 'folder', {}, WRITE)), 'is-directory');
  assert.equal(code(() => root.openAt({}, 'x'.repeat(300), {}, READ)), 'name-too-long');
  assert.equal(code(() => root.read(1n, 0n)), 'is-directory');
  assert.equal(code(() => root.removeDirectoryAt('missing')), 'no-entry');
  assert.equal(code(() => file.openAt({}, 'a', {}, READ)), 'not-directory');
  assert.equal(code(() => file.write(Buffer.from('a'), 2n ** 63n)), 'invalid');
  assert.equal(code(() => file.setSize(2n ** 63n)), 'invalid');
  assert.equal(code(() => file.write(undefined, 0n)), 'io');
});

test('a device is refused', () => {
  const root = Descriptor.ofRoot(new Root('/dev'));
  assert.equal(code(() => root.openAt({}, 'full', {}, WRITE)), 'not-permitted');
});

test('if a directory was moved, no name is changed in the one at its old path', (t) => {
  const { base } = directory(t);
  const { dev, ino } = fs.statSync(base);
  const root = Descriptor.ofRoot(new Root(base, { dev, ino }));
  root.openAt({}, 'a', CREATE, WRITE);
  fs.renameSync(base, `${base}.old`);
  fs.mkdirSync(base);
  fs.writeFileSync(path.join(base, 'a'), 'of another store');
  assert.equal(code(() => root.unlinkFileAt('a')), 'io');
  assert.equal(code(() => root.renameAt('a', root, 'b')), 'io');
  assert.equal(fs.readFileSync(path.join(base, 'a'), 'utf8'), 'of another store');
});
