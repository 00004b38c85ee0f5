'use strict';

// The stores that are compared, as functions that open one in a directory. Stores that
// cannot be opened are left out.

const { createHash } = require('node:crypto');
const { createRequire } = require('node:module');
const path = require('node:path');
const { promisify } = require('node:util');

const LIFE = 86_400_000;

/** Where the other stores are installed, see `bench.js`. */
function foreign(name) {
  const { BENCH_MODULES } = process.env;
  if (!BENCH_MODULES) throw new Error('BENCH_MODULES names no folder');
  return createRequire(path.join(path.resolve(BENCH_MODULES), 'x.js'))(name);
}

const TABLE = `
  CREATE TABLE sessions (key BLOB PRIMARY KEY, data TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX due ON sessions (expires);`;
const PRAGMAS = ['journal_mode = WAL', 'synchronous = FULL', 'locking_mode = EXCLUSIVE'];

/** A plain store over SQLite in the main thread: prepared statements, hashed ids. */
function native(database) {
  for (const pragma of PRAGMAS) database.exec(`PRAGMA ${pragma}`);
  database.exec(TABLE);
  const get = database.prepare('SELECT data FROM sessions WHERE key = ? AND expires > ?');
  const set = database.prepare(
    'INSERT INTO sessions VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET data = excluded.data, expires = excluded.expires',
  );
  const destroy = database.prepare('DELETE FROM sessions WHERE key = ?');
  const key = (sid) => createHash('sha256').update(sid).digest();
  return {
    async get(sid) {
      const row = get.get(key(sid), Date.now());
      return row === undefined ? null : JSON.parse(row.data);
    },
    async set(sid, session, ttl = LIFE) {
      set.run(key(sid), JSON.stringify(session), Date.now() + ttl);
    },
    async destroy(sid) {
      destroy.run(key(sid));
    },
    close: () => database.close(),
  };
}

/** better-sqlite3-session-store, with the same pragmas and promises in place of callbacks. */
function sessionStore(database) {
  for (const pragma of PRAGMAS) database.exec(`PRAGMA ${pragma}`);
  class Base {}
  const store = new (foreign('better-sqlite3-session-store')({ Store: Base }))({ client: database });
  const call = (name) => promisify(store[name]).bind(store);
  return { get: call('get'), set: call('set'), destroy: call('destroy'), close: () => database.close() };
}

const STORES = {
  'koa-wasi-sessions': (directory) => require('koa-wasi-sessions').open({ directory }),
  'without its cache': (directory) => require('koa-wasi-sessions').open({ directory, readCache: 0 }),
  'better-sqlite3': (directory) => native(new (foreign('better-sqlite3'))(path.join(directory, 'a.db'))),
  'better-sqlite3-session-store': (directory) => sessionStore(new (foreign('better-sqlite3'))(path.join(directory, 'a.db'))),
  'node:sqlite': (directory) => native(new (require('node:sqlite').DatabaseSync)(path.join(directory, 'a.db'))),
  async 'the original'(directory) {
    const { Sequelize } = foreign('sequelize');
    const sequelize = new Sequelize({ dialect: 'sqlite', storage: path.join(directory, 'a.db'), logging: false });
    const Store = foreign('koa-generic-session-sequelize');
    const store = new Store(sequelize, {});
    await new Promise((resolve) => store.once('connect', resolve));
    return Object.assign(store, { close: () => sequelize.close() });
  },
};

module.exports = { STORES };
