import Koa from 'koa';
import session from 'koa-generic-session';
import { open } from 'koa-wasi-sessions';

const key = process.env.SESSION_KEY;
if (!key) throw new Error('SESSION_KEY is missing: any secret text that is hard to guess');

const store = await open({ directory: process.env.SESSIONS ?? './sessions' });

const app = new Koa();
app.keys = [key];
app.use(session({ store }));
app.use((ctx) => {
  ctx.session.visits = (ctx.session.visits ?? 0) + 1;
  ctx.body = `visit ${ctx.session.visits}\n`;
});

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
process.once('SIGTERM', () => server.close(() => store.close()));
