'use strict';

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const { test } = require('node:test');
const { inspect } = require('node:util');

const { directory, filesIn, open } = require('./support.js');

/** Whether a file of the directory has these bytes. */
const isInFiles = (folder, bytes) => filesIn(folder).some((name) => fs.readFileSync(name).includes(bytes));

test('with a key no file contains a payload, and collecting changes the key', async (t) => {
  const folder = directory(t);
  const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
  const stages = [{ key: first }, { key: second, previousKey: first }, { key: second }];
  for (const keys of stages) {
    const store = await open({ directory: folder, ...keys });
    await store.set('a', { words: 'of the payload' });
    assert.deepEqual(await store.get('a'), { words: 'of the payload' });
    while ((await store.collect()).more);
    assert.equal(isInFiles(folder, 'of the payload'), false);
    await store.close();
  }
  for (const options of [{}, { key: first }, { key: 'no key' }]) {
    const refused = await open({ directory: folder, ...options }).catch((error) => error);
    assert.equal(refused.code, 'invalid-argument');
    assert.match(refused.message, /`key`/);
    assert.equal(inspect(refused).includes(first), false);
  }
});
