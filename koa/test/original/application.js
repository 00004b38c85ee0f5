'use strict';

// A Koa application with koa-generic-session. The caller passes the store, which is the only
// difference between the original and this package.

const Koa = require('koa');
const session = require('koa-generic-session');

/** The life of the fixture's sessions, in milliseconds: 100 years. */
const LIFE = 100 * 365 * 86_400_000;

function application(store) {
  const app = new Koa();
  app.keys = ['a key for tests'];
  app.use(session({ store, cookie: { maxAge: LIFE } }));
  app.use((ctx) => {
    if (ctx.query.name) ctx.session.name = ctx.query.name;
    ctx.session.visits = (ctx.session.visits ?? 0) + 1;
    const { name, visits } = ctx.session;
    ctx.body = { name, visits };
  });
  return app;
}

/** Visits an application; returns its answer and the cookies that it set. */
async function visit(server, { query = '', cookie = '' }) {
  const response = await fetch(`http://127.0.0.1:${server.address().port}/${query}`, { headers: { cookie } });
  const cookies = response.headers.getSetCookie().map((line) => line.split(';')[0]);
  return { ...(await response.json()), cookie: cookies.join('; ') };
}

module.exports = { application, visit };
