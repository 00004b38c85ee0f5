'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { Directory } = require('../lib/directory.js');
const { directory } = require('./support.js');

test('the parent of each new directory is synced', { skip: process.platform !== 'linux' }, (t) => {
  const where = directory(t);
  const synced = [];
  t.mock.method(fs, 'fsyncSync', (fd) => synced.push(fs.readlinkSync(`/proc/self/fd/${fd}`)));
  const opened = () => new Directory(path.join(where, 'shops', 'first'), 'sessions.db', true).close();
  opened();
  assert.deepEqual(synced, [path.join(where, 'shops'), where, path.dirname(where)]);
  opened();
  assert.equal(synced.length, 3);
});
