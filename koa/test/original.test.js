'use strict';

// Moving an application from koa-generic-session-sequelize (the original) to this store, with a
// database that the original has written: see `original/record.js`.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { application, visit } = require('./original/application.js');
const browsers = require('./original/browsers.json');
const { directory, open } = require('./support.js');

const FILE = 'sessions.sqlite';

/** A copy of the original's database, in a new directory. */
function database(t) {
  const where = directory(t);
  fs.mkdirSync(where);
  fs.copyFileSync(path.join(__dirname, 'original', FILE), path.join(where, FILE));
  return where;
}

/** Has the browsers that visited the original visit an application with this store. */
async function keepsSessions(store) {
  assert.equal(await store.countSessions(), browsers.length, 'the expired one is not migrated');
  const server = application(store).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    for (const { name, visits, cookie } of browsers) {
      for (const more of [1, 2]) {
        assert.deepEqual(await visit(server, { cookie }), { name, visits: visits + more, cookie });
      }
    }
    const { visits } = await visit(server, {});
    assert.equal(visits, 1, 'a new browser has a new session');
  } finally {
    server.close();
    await store.close();
  }
}

test('an application that used the original keeps its sessions after one line was changed', async (t) => {
  await keepsSessions(await open({ directory: database(t), file: FILE, tableName: 'Sessions' }));
});

test('an application that used the original keeps the sessions that were imported', { skip: !hasSqlite() }, async (t) => {
  const from = path.join(database(t), FILE);
  const before = fs.readFileSync(from);
  const where = directory(t);
  const command = path.join(__dirname, '..', 'bin', 'wasi-sessions.js');
  const { stdout, stderr } = spawnSync(process.execPath, [command, 'import', '--from', from, '--directory', where], { encoding: 'utf8' });
  assert.match(stdout, /table Sessions of koa-generic-session-sequelize: 3 imported, 0 there already, 1 expired, 0 broken/, stderr);
  assert.deepEqual(fs.readFileSync(from), before, 'the source is only read');
  await keepsSessions(await open({ directory: where }));
});

/** Whether Node has the module that the import needs; Node 20 does not. */
function hasSqlite() {
  try {
    return Boolean(require('node:sqlite'));
  } catch {
    return false;
  }
}
