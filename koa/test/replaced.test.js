'use strict';

// Files of the database that are moved, removed or replaced while a store is open.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { directory, filesIn, open, workers } = require('./support.js');

const LOSSES = {
  removed: (file) => fs.unlinkSync(file),
  moved: (file) => fs.renameSync(file, `${file}.old`),
  replaced(file) {
    fs.copyFileSync(file, `${file}.new`);
    fs.renameSync(`${file}.new`, file);
  },
};

/** The files of a directory, without the lock. */
function contents(where) {
  const names = filesIn(where).filter((name) => !name.includes('.lock'));
  return names.map((name) => [name, fs.readFileSync(name)]);
}

/** The error of the first write that fails. */
async function failure(store) {
  for (;;) {
    const error = await store.set('a', { x: 2 }).then(() => undefined, (error) => error);
    if (error) return error;
  }
}

for (const suffix of ['', '-wal']) {
  for (const [what, lose] of Object.entries(LOSSES)) {
    test(`a store whose file sessions.db${suffix} is ${what} fails from then on, and changes nothing when it is closed`, async (t) => {
      const where = directory(t);
      const store = await open({ directory: where });
      await store.set('a', { x: 1 });
      lose(path.join(where, `sessions.db${suffix}`));
      const error = await failure(store);
      assert.equal(error.code, 'replaced');
      assert.match(error.message, /open the store again/);
      await assert.rejects(store.check(), { code: 'replaced' });
      const before = contents(where);
      await store.close();
      assert.deepEqual(contents(where), before);
    });
  }

  test(`a write after the file sessions.db${suffix} was removed is not answered as written`, async (t) => {
    const where = directory(t);
    const store = await open({ directory: where });
    await store.set('a', { x: 1 });
    fs.unlinkSync(path.join(where, `sessions.db${suffix}`));
    await assert.rejects(store.set('a', { x: 2 }), { code: 'replaced' });
    await store.close();
  });

  for (const [what, lose] of Object.entries(LOSSES)) {
    test(`a worker that is started after the file sessions.db${suffix} was ${what} does not use it`, async (t) => {
      const where = directory(t);
      const started = workers(t);
      const store = await open({ directory: where });
      await store.set('a', { x: 1 });
      await started[0].terminate();
      lose(path.join(where, `sessions.db${suffix}`));
      const before = contents(where);
      await assert.rejects(store.set('a', { x: 2 }), { code: 'replaced' });
      assert.deepEqual(contents(where), before);
      await store.close();
    });
  }
}

test('a backup that is copied over an open database is noticed', async (t) => {
  const where = directory(t);
  const backup = path.join(path.dirname(where), 'backup.db');
  let store = await open({ directory: where });
  await store.set('a', { x: 1 });
  await store.backup(backup);
  fs.copyFileSync(backup, path.join(where, 'sessions.db'));
  assert.equal((await failure(store)).code, 'replaced');
  await store.close();
  // The next store opens the backup as its database.
  store = await open({ directory: where });
  assert.deepEqual(await store.get('a'), { x: 1 });
  await store.set('a', { x: 3 });
  assert.deepEqual(await store.check(), []);
  await store.close();
});

test('a database that is removed while no worker runs, and created again, is not the same', async (t) => {
  const where = directory(t);
  const started = workers(t);
  const store = await open({ directory: where });
  await store.set('a', { x: 1 });
  await started[0].terminate();
  // File systems give the number of a removed file to the next one, unless it is open.
  for (const [name, content] of contents(where)) {
    fs.unlinkSync(name);
    fs.writeFileSync(name, content);
  }
  await assert.rejects(store.set('a', { x: 2 }), { code: 'replaced' });
  await store.close();
});

test('a worker that is started again uses the files of the one before', async (t) => {
  const where = directory(t);
  const started = workers(t);
  const store = await open({ directory: where });
  for (let round = 0; round < 3; round += 1) {
    await store.set('a', { round });
    await started[round].terminate();
    assert.deepEqual((await store.read('a')).data, { round });
  }
  await store.close();
  const again = await open({ directory: where });
  assert.deepEqual(await again.get('a'), { round: 2 });
  await again.close();
});
