'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');

const { Program, directory } = require('./support.js');

/** Starts a server with a middleware, in a separate process. */
async function serve(t, middleware, where, options = {}) {
  const program = new Program(t, [path.join(__dirname, 'server.js'), middleware, where, JSON.stringify(options)]);
  program.port = (await program.next()).port;
  return program;
}

/** A browser: keeps cookies, and removes those that are empty or have expired. */
class Browser {
  cookies = new Map();

  constructor(program) {
    this.port = program.port;
  }

  async visit(location) {
    const { status, headers, text } = await request(this.port, location, this.header());
    for (const line of headers['set-cookie'] ?? []) {
      const [, name, value, attributes] = /^([^=]+)=([^;]*)(.*)$/.exec(line);
      const expires = /expires=([^;]+)/i.exec(attributes);
      if (value === '' || (expires && new Date(expires[1]) <= new Date())) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return { status, setsCookie: 'set-cookie' in headers, ...(status === 200 ? JSON.parse(text) : {}) };
  }

  header() {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  copy() {
    const copy = Object.assign(Object.create(Browser.prototype), this);
    copy.cookies = new Map(this.cookies);
    return copy;
  }
}

function request(port, location, cookie = '', onRequest = () => {}) {
  return new Promise((resolve, reject) => {
    const sent = http.get({ host: '127.0.0.1', port, path: location, agent: false, headers: cookie ? { cookie } : {} }, (response) => {
      let text = '';
      response.on('data', (data) => (text += data));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    sent.on('error', reject);
    onRequest(sent);
  });
}

/** Moves the server's clock, after what koa-session-minimal writes when it has answered already. */
async function forward(server, milliseconds) {
  await live(server);
  return request(server.port, `/forward?${milliseconds}`);
}

/** The number of live sessions in the store. */
async function live(server) {
  return JSON.parse((await request(server.port, '/live')).text);
}

const MIDDLEWARES = ['koa-generic-session', 'koa-session-minimal', 'koa-session', 'express-session'];

for (const middleware of MIDDLEWARES) {
  test(`${middleware}: sessions are created, changed, renamed and ended, and survive the process`, async (t) => {
    const where = directory(t);
    let server = await serve(t, middleware, where, { maxAge: 3_600_000 });
    const browser = new Browser(server);
    assert.deepEqual(await browser.visit('/count'), { status: 200, setsCookie: true, count: 1 });
    assert.equal((await browser.visit('/count')).count, 2);
    assert.equal((await new Browser(server).visit('/read')).count, null);

    const old = browser.copy();
    await browser.visit('/regenerate');
    assert.equal((await browser.visit('/read')).count, 100);
    assert.equal((await old.visit('/read')).count, null, 'the old id has ended');

    await server.end('SIGTERM');
    server = await serve(t, middleware, where, { maxAge: 3_600_000 });
    browser.port = server.port;
    assert.equal((await browser.visit('/count')).count, 101);
    // koa-session-minimal answers before it has written; a read waits for that.
    assert.equal((await browser.visit('/read')).count, 101);
    await server.end('SIGKILL');
    server = await serve(t, middleware, where, { maxAge: 3_600_000 });
    browser.port = server.port;
    assert.equal((await browser.visit('/read')).count, 101);

    const stolen = browser.copy();
    await browser.visit('/end');
    assert.equal((await stolen.visit('/read')).count, null);
    assert.equal((await browser.visit('/read')).count, null);

    const parallel = new Browser(server);
    await parallel.visit('/count');
    const answers = await Promise.all(Array.from({ length: 20 }, () => parallel.copy().visit('/count')));
    assert.deepEqual(answers.map(({ status }) => status), Array(20).fill(200));
    assert.ok((await parallel.visit('/read')).count >= 2);
    assert.deepEqual(JSON.parse((await request(server.port, '/state')).text), { failures: [], errors: 0 });
    assert.equal(server.errors.replace(/.*(Warning|node --trace).*\n/g, ''), '');
  });

  test(`${middleware}: a request in flight does not undo a log-out, even if its client disconnects`, async (t) => {
    const server = await serve(t, middleware, directory(t), { maxAge: 3_600_000 });
    const browser = new Browser(server);
    await browser.visit('/count');
    let gone;
    const away = request(server.port, '/slow', browser.header(), (sent) => (gone = sent)).catch(() => {});
    const slow = browser.copy().visit('/slow');
    while (!gone.socket?.bytesWritten) await new Promise(setImmediate);
    const other = browser.copy();
    await browser.visit('/read');
    gone.destroy();
    await browser.visit('/end');
    await request(server.port, '/go');
    await Promise.all([slow, away]);
    assert.equal((await other.visit('/read')).count, null);
    assert.deepEqual(JSON.parse((await request(server.port, '/state')).text).failures, []);
  });

  test(`${middleware}: a session expires when its life has passed, and a rolling one is renewed`, async (t) => {
    const server = await serve(t, middleware, directory(t), { maxAge: 6_000_000, rolling: true });
    const [idle, busy] = [new Browser(server), new Browser(server)];
    await Promise.all([idle.visit('/count'), busy.visit('/count')]);
    // koa-session-minimal renews a session only when it writes it.
    const renewing = middleware === 'koa-session-minimal' ? '/count' : '/read';
    await forward(server, 4_000_000);
    const { count } = await busy.visit(renewing);
    await forward(server, 4_000_000);
    assert.equal((await idle.visit('/read')).count, null);
    assert.equal((await busy.visit('/read')).count, count);
    assert.equal(await live(server), 1);
    await forward(server, 8_000_000);
    assert.equal((await busy.visit('/read')).count, null);
    assert.equal(await live(server), 0);
  });

  test(`${middleware}: a store that fails does not end the process`, async (t) => {
    const server = await serve(t, middleware, directory(t), { maxAge: 3_600_000, readCache: 0 });
    const browser = new Browser(server);
    await browser.visit('/count');
    await request(server.port, '/fail');
    assert.equal((await browser.visit('/read')).status, 500);
    const visited = await new Browser(server).visit('/count');
    assert.equal(visited.status, ['koa-session-minimal', 'express-session'].includes(middleware) ? 200 : 500);
    let failures;
    // Two middlewares have answered before the write has failed.
    do ({ failures } = JSON.parse((await request(server.port, '/state')).text));
    while (failures.length < 2);
    assert.deepEqual(failures.map(([verb, code]) => [verb, code]), [['get', 'storage-full'], ['set', 'storage-full']]);
  });
}

test('koa-session: a session that is not rolling expires however often it is read', async (t) => {
  const server = await serve(t, 'koa-session', directory(t), { maxAge: 6_000_000 });
  const browser = new Browser(server);
  await browser.visit('/count');
  for (const expected of [1, 1, null]) {
    await forward(server, 2_500_000);
    const { count, setsCookie } = await browser.copy().visit('/read');
    assert.equal(count, expected);
    if (count) assert.ok(!setsCookie);
  }
  // The middleware's ttl is 10 s longer than the session's life.
  assert.equal(await live(server), 0);
});

test('koa-session: a session is renewed in the second half of its life', async (t) => {
  const server = await serve(t, 'koa-session', directory(t), { maxAge: 6_000_000, renew: true });
  const browser = new Browser(server);
  await browser.visit('/count');
  await forward(server, 2_000_000);
  assert.deepEqual(await browser.visit('/read'), { status: 200, setsCookie: false, count: 1 });
  await forward(server, 2_000_000);
  assert.deepEqual(await browser.visit('/read'), { status: 200, setsCookie: true, count: 1 });
  await forward(server, 5_500_000);
  assert.equal((await browser.copy().visit('/read')).count, 1, 'after 9500 s');
  await forward(server, 8_000_000);
  assert.equal((await browser.visit('/read')).count, null);
});

test('koa-session: a session of the browser lives as long as browserSessionLifetime', async (t) => {
  const server = await serve(t, 'koa-session', directory(t), { maxAge: 'session', browserSessionLifetime: 6_000_000 });
  const browser = new Browser(server);
  await browser.visit('/count');
  await forward(server, 5_000_000);
  assert.equal((await browser.visit('/read')).count, 1);
  await forward(server, 1_000_000);
  assert.equal((await browser.visit('/read')).count, null);
});

test('koa-session-minimal: without tombstones, a log-in right after a log-out can reuse the id', async (t) => {
  const server = await serve(t, 'koa-session-minimal', directory(t), { tombstone: 0 });
  const browser = new Browser(server);
  await browser.visit('/count');
  const old = browser.copy();
  await browser.visit('/end');
  assert.equal((await old.visit('/count')).count, 1);
  assert.equal((await old.visit('/read')).count, 1);
});
