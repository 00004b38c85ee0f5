import express from 'express';
import expressSession from 'express-session';
import Koa from 'koa';
import genericSession from 'koa-generic-session';
import { createSession } from 'koa-session';
import { open, SessionsError, type Written } from 'koa-wasi-sessions';

interface Cart {
  books: string[];
}

export async function main(directory: string, secret: string): Promise<string> {
  const store = await open({ directory, absoluteLifetime: 30 * 86_400_000, maxPerSubject: 10 });
  store.on('failure', (error, verb) => console.error(verb, error.code));

  const app = new Koa();
  app.use(genericSession({ store }));
  app.use(createSession({ store }, app));
  express().use(expressSession({ store: store.express(expressSession), secret }));

  const visitor = await store.create({ books: [] } satisfies Cart);
  const alice = await store.rotate(visitor.id, { subject: 'alice' });
  if (alice === null) throw new Error('the session has expired');
  const session = await store.read<Cart>(alice.id);
  const result = await store.update<Cart>(alice.id, { books: ['one'] }, { version: session?.version });
  let said: string;
  if (result.outcome === 'written') said = written(result);
  else if (result.outcome === 'stale') said = `version ${result.session.version} was faster`;
  else said = 'logged out meanwhile';

  const { sessions } = await store.listSessions({ subject: 'alice' });
  said += ` of ${sessions.length} session`;
  await store.terminateSubject('alice', { except: alice.id });
  await store.set('', {}).catch((error: unknown) => {
    if (!(error instanceof SessionsError) || error.code !== 'invalid-argument') throw error;
  });
  await store.close();
  return said;
}

function written({ version }: Written): string {
  return `version ${version}`;
}
