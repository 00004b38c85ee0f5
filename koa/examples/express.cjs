const express = require('express');
const session = require('express-session');
const { open } = require('koa-wasi-sessions');

const key = process.env.SESSION_KEY;
if (!key) throw new Error('SESSION_KEY is missing: any secret text that is hard to guess');

async function main() {
  const store = await open({ directory: process.env.SESSIONS ?? './sessions' });

  const app = express();
  app.use(
    session({
      store: store.express(session),
      secret: key,
      resave: false,
      saveUninitialized: false,
    }),
  );
  app.get('/', (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    response.send(`visit ${request.session.visits}\n`);
  });

  const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
    console.log(`http://127.0.0.1:${server.address().port}`);
  });
  process.once('SIGTERM', () => server.close(() => store.close()));
}

main();
