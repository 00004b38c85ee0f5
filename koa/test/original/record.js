'use strict';

// Writes the fixture of `original.test.js`: `sessions.sqlite`, a database that
// koa-generic-session-sequelize itself writes for `application.js`, and `browsers.json`, the
// cookies of its browsers. It needs that package, which needs a native addon:
//
//     npm install --prefix FOLDER koa-generic-session-sequelize@2.2.0 sequelize@6 sqlite3@6
//     node record.js FOLDER

const { once } = require('node:events');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');

const { application, visit } = require('./application.js');

const original = createRequire(path.join(path.resolve(process.argv[2]), 'x.js'));
const { Sequelize } = original('sequelize');
const SequelizeStore = original('koa-generic-session-sequelize');

async function main() {
  const storage = path.join(__dirname, 'sessions.sqlite');
  fs.rmSync(storage, { force: true });
  const sequelize = new Sequelize({ dialect: 'sqlite', storage, logging: false });
  const store = new SequelizeStore(sequelize, { tableName: 'Sessions' });
  await once(store, 'connect');
  const server = application(store).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const browsers = [];
  for (const [name, visits] of [['Alice', 1], ['ユーザー 👋🏽', 2], ['Carol', 3]]) {
    const browser = { name, visits, cookie: (await visit(server, { query: `?name=${encodeURIComponent(name)}` })).cookie };
    for (let count = 1; count < visits; count += 1) await visit(server, browser);
    browsers.push(browser);
  }
  await store.set('koa:sess:expired', { name: 'Mallory', visits: 9 }, 1);
  const left = await visit(server, {});
  await store.destroy(`koa:sess:${/koa\.sid=([^;]*)/.exec(left.cookie)[1]}`);
  fs.writeFileSync(path.join(__dirname, 'browsers.json'), `${JSON.stringify(browsers, null, 2)}\n`);
  server.close();
  await sequelize.close();
}

main();
