'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { promisify } = require('node:util');

const session = require('express-session');

const { openStore } = require('./support.js');

/** The functions of the store for express-session, as promises. */
async function expressStore(t) {
  const store = await openStore(t);
  const express = store.express(session);
  assert.ok(express instanceof session.Store);
  const call = (name, ...parameters) => promisify(express[name]).apply(express, parameters);
  return { store, express, call };
}

/** A session as express-session passes it. */
function withCookie(maxAge) {
  const cookie = new session.Cookie({ maxAge });
  return { cookie, x: 1 };
}

test('a session from get has the expiry that touch has set', async (t) => {
  const { call } = await expressStore(t);
  await call('set', 'a', withCookie(1_000_000));
  const before = new Date((await call('get', 'a')).cookie.expires);
  await call('touch', 'a', withCookie(360_000_000));
  const after = await call('get', 'a');
  assert.ok(new Date(after.cookie.expires) - before > 350_000_000);
  assert.equal(after.x, 1);
});

test('a cookie without a valid expiry gives the life of browserSessionLifetime', async (t) => {
  const { store, call } = await expressStore(t);
  const broken = withCookie(1000);
  broken.cookie.expires = new Date(NaN);
  for (const given of [withCookie(null), broken]) {
    await call('set', 'a', given);
    const { expires, updated } = await store.read('a');
    assert.equal(expires - updated, 86_400_000);
    await call('touch', 'a', given);
    assert.equal((await call('get', 'a')).cookie.expires, null);
  }
});

test('a session that never expires has the last date there is', async (t) => {
  const { store, call } = await expressStore(t);
  await call('set', 'a', withCookie(1_000_000));
  await store.touch('a', Infinity);
  const last = new Date(8.64e15).toISOString();
  assert.equal((await call('get', 'a')).cookie.expires, last);
  assert.equal((await call('all'))[0].cookie.expires, last);
  await call('set', 'a', await call('get', 'a'));
  assert.equal((await call('get', 'a')).x, 1);
});

test('a touch with a cookie that has expired ends the session', async (t) => {
  const { call } = await expressStore(t);
  await call('set', 'a', withCookie(6_000_000));
  await call('touch', 'a', withCookie(-1));
  assert.equal(await call('get', 'a'), null);
});

test('all, length and clear see the live sessions', async (t) => {
  const { call } = await expressStore(t);
  await Promise.all(['a', 'b', 'c'].map((sid) => call('set', sid, withCookie(6_000_000))));
  await call('set', 'expired', withCookie(-1));
  await call('destroy', 'c');
  assert.equal(await call('length'), 2);
  assert.deepEqual((await call('all')).map(({ x }) => x), [1, 1]);
  await call('clear');
  assert.deepEqual(await call('all'), []);
  assert.equal(await call('get', 'a'), null);
});

test('failures go to the callback, and a callback may be missing', async (t) => {
  const { store, express, call } = await expressStore(t);
  await assert.rejects(call('set', 'a', { cookie: {}, large: 1n }), { code: 'invalid-argument' });
  express.set('a', withCookie(1000));
  express.destroy('a');
  assert.equal(await store.get('a'), null);
});
