'use strict';

// A server with one of the middlewares, as a program: `server.js MIDDLEWARE DIRECTORY OPTIONS`.
//
// /count counts, /read shows the session, /regenerate gives a new id, /end logs out, /slow waits
// for /go before it counts, /forward?MILLISECONDS moves the clock, /fail makes the store fail from
// then on.

const http = require('node:http');

const { forward } = require('./clock.js');
const { open } = require('koa-wasi-sessions');

const [middleware, directory, options] = process.argv.slice(2);
const { maxAge, rolling, renew, ...ours } = JSON.parse(options ?? '{}');

let proceed;
const proceeding = new Promise((resolve) => (proceed = resolve));

function koa(use) {
  const Koa = require('koa');
  const app = new Koa();
  app.keys = ['a key for tests'];
  app.silent = true;
  app.on('error', () => (errors += 1));
  use(app);
  return app.callback();
}

let errors = 0;

/** The routes for all Koa middlewares, which differ in how they regenerate the id. */
async function routes(ctx, regenerate) {
  ctx.body = {};
  switch (ctx.path) {
    case '/count':
      ctx.session.count = (ctx.session.count ?? 0) + 1;
      ctx.body = { count: ctx.session.count };
      return;
    case '/read':
      ctx.body = { count: ctx.session?.count ?? null };
      return;
    case '/regenerate':
      await regenerate(ctx);
      ctx.session.count = 100;
      return;
    case '/end':
      ctx.session = null;
      return;
    case '/slow':
      await proceeding;
      ctx.session.count = 1000;
      return;
  }
}

const servers = {
  'koa-generic-session'(store) {
    const session = require('koa-generic-session');
    return koa((app) => {
      app.use(session({ store, rolling, cookie: { maxAge } }));
      app.use((ctx) => routes(ctx, () => ctx.regenerateSession()));
    });
  },
  'koa-session-minimal'(store) {
    const session = require('koa-session-minimal');
    return koa((app) => {
      app.use(session({ store: store.minimal, cookie: { maxAge } }));
      app.use((ctx) => routes(ctx, () => ctx.sessionHandler.regenerateId()));
    });
  },
  'koa-session'(store) {
    const { createSession } = require('koa-session');
    return koa((app) => {
      app.use(createSession({ store, rolling, renew, maxAge }, app));
      app.use((ctx) => routes(ctx, () => ctx.session.regenerate()));
    });
  },
  'express-session'(store) {
    const express = require('express');
    const session = require('express-session');
    const app = express();
    app.use(
      session({
        secret: 'a secret for tests',
        store: store.express(session),
        resave: false,
        saveUninitialized: false,
        rolling: rolling ?? false,
        cookie: { maxAge },
      }),
    );
    app.use(async (request, response, next) => {
      const answer = (error, body = {}) => (error ? next(error) : response.json(body));
      switch (request.path) {
        case '/count':
          request.session.count = (request.session.count ?? 0) + 1;
          return answer(null, { count: request.session.count });
        case '/read':
          return answer(null, { count: request.session.count ?? null });
        case '/regenerate':
          return request.session.regenerate((error) => {
            if (!error) request.session.count = 100;
            answer(error);
          });
        case '/end':
          return request.session.destroy((error) => answer(error));
        case '/slow':
          await proceeding;
          request.session.count = 1000;
          return answer(null);
        default:
          return answer(null);
      }
    });
    app.use((_error, _request, response, _next) => {
      errors += 1;
      response.status(500).end();
    });
    return app;
  },
};

async function main() {
  const store = await open({ directory, ...ours });
  const failures = [];
  store.on('failure', (error, verb) => failures.push([verb, error.code]));
  const application = servers[middleware](store);
  const server = http.createServer((request, response) => {
    if (request.url === '/go') proceed();
    if (request.url.startsWith('/forward')) forward(Number(request.url.split('?')[1]));
    if (request.url === '/fail') fail();
    if (request.url === '/live') return store.countSessions().then((count) => response.end(JSON.stringify(count)));
    if (request.url === '/state') return response.end(JSON.stringify({ failures, errors }));
    return application(request, response);
  });
  server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
  process.once('SIGTERM', () => {
    server.close(() => store.close());
    server.closeAllConnections();
  });
}

/** Simulates a full disk: the worker answers every request with an error. */
function fail() {
  const { Worker } = require('node:worker_threads');
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (message) {
    const replies = [].concat(message.parameters).map(() => ({ error: { code: 'storage-full', message: 'the disk is full' } }));
    if (message.call === 'close') postMessage.call(this, message);
    else setImmediate(() => this.emit('message', { replies, now: Date.now() }));
  };
}

main();
