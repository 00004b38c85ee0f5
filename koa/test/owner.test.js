'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Worker } = require('node:worker_threads');

const { directory, open, openStore, run, workers } = require('./support.js');

test('when a worker dies, requests in flight fail and the next worker runs the queue', async (t) => {
  const started = workers(t);
  const store = await openStore(t);
  await store.set('a', { x: 1 });
  // The worker dies before it reads the message.
  started[0].postMessage = () => started[0].terminate();
  const lost = store.set('b', {});
  const waiting = store.set('c', { x: 3 });
  await assert.rejects(lost, { code: 'crashed' });
  assert.equal((await waiting).outcome, 'written');
  assert.deepEqual(await store.get('a'), { x: 1 });
  assert.equal(started.length, 2);
});

test('when a worker dies while it opens the store, opening fails and the directory is unlocked', async (t) => {
  const where = directory(t);
  process.once('worker', (worker) => worker.terminate());
  await assert.rejects(open({ directory: where }), { code: 'crashed' });
  const store = await open({ directory: where });
  t.after(() => store.close());
  await store.set('a', { x: 1 });
});

test('when a worker dies while it is restarted, the queue fails and a later worker works', async (t) => {
  const started = workers(t);
  const store = await openStore(t);
  await store.set('a', { x: 1 });
  process.once('worker', (worker) => worker.terminate());
  const exited = new Promise((resolve) => started[0].once('exit', resolve));
  started[0].terminate();
  await exited;
  const failed = await Promise.allSettled([store.read('a'), store.set('b', {}), store.stats()]);
  assert.deepEqual(failed.map(({ reason }) => reason?.code), ['crashed', 'crashed', 'crashed']);
  // No other worker is started for a second.
  let found;
  while (!found) {
    await new Promise(setImmediate);
    found = await store.read('a').catch(() => undefined);
  }
  assert.deepEqual(found.data, { x: 1 });
});

test('a failure that is not awaited does not end the process', async (t) => {
  const program = run(
    t,
    directory(t),
    `open({ directory, maxData: 100 }).then((store) => {
      store.on('failure', (error, verb) => say([error.code, verb]));
      store.set('a', { long: 'x'.repeat(100) });
      store.minimal.set('a', { long: 'x'.repeat(100) });
      store.minimal.set('a', { large: 1n });
      store.minimal.destroy('a').then(() => say('alive'));
    });`,
  );
  const said = [];
  while (said.at(-1) !== 'alive') said.push(await program.next());
  assert.deepEqual(said, [['invalid-argument', 'set'], ['too-large', 'set'], ['too-large', 'set'], 'alive']);
  assert.deepEqual(await program.exited, [0, null]);
});

test('a process ends by itself once every write is answered, and loses none', async (t) => {
  const where = directory(t);
  const program = run(t, where, `open({ directory }).then((store) => { for (let i = 0; i < 500; i += 1) store.set('k' + i, { i }); });`);
  assert.deepEqual(await program.exited, [0, null]);
  const store = await open({ directory: where });
  assert.equal(await store.countSessions(), 500);
  await store.close();
});

test('flags of the application are not passed to the worker', async (t) => {
  const program = run(t, directory(t), `open({ directory }).then((store) => store.close()).then(() => say('closed'));`, {
    parameters: ['--input-type=commonjs'],
  });
  assert.equal(await program.next(), 'closed');
});

test('callers that send another request right after an answer share the next batch', async (t) => {
  const store = await openStore(t);
  const batches = [];
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (message) {
    if (message.call === 'requests') batches.push(message.parameters.length);
    return postMessage.call(this, message);
  };
  t.after(() => (Worker.prototype.postMessage = postMessage));
  const [callers, rounds] = [32, 10];
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let round = 0; round < rounds; round += 1) {
        await new Promise(setImmediate);
        await store.set(`session ${caller}`, { round });
      }
    }),
  );
  assert.equal(batches.reduce((sum, size) => sum + size), callers * rounds);
  assert.ok(batches.length <= rounds + 3, `${batches}`);
});

test('koa-generic-session gets the event connect and never disconnect', async (t) => {
  const store = await openStore(t);
  const heard = [];
  for (const event of ['connect', 'disconnect']) store.on(event, () => heard.push(event));
  await new Promise(setImmediate);
  await store.close();
  assert.deepEqual(heard, ['connect']);
});

const KILLS = Number(process.env.KILLS ?? 20);

test(`killed ${KILLS} times under load, nothing that was answered is lost`, async (t) => {
  const where = directory(t);
  for (let round = 0; round < KILLS; round += 1) {
    const program = run(
      t,
      where,
      `open({ directory }).then((store) => {
        let next = 0;
        const write = async () => {
          for (;;) {
            const number = next++;
            await store.set('session ' + number % 1000, { round: ${round}, number });
            say(number);
          }
        };
        for (let i = 0; i < 16; i += 1) write();
      });`,
    );
    const answered = new Map();
    const until = 100 + round * 40;
    for (let count = 0; count < until; count += 1) {
      const number = await program.next();
      answered.set(number % 1000, Math.max(number, answered.get(number % 1000) ?? 0));
    }
    await program.end('SIGKILL');
    const store = await open({ directory: where });
    assert.deepEqual(await store.check(), []);
    for (const [key, number] of answered) {
      const found = await store.get(`session ${key}`);
      assert.ok(found.round === round && found.number >= number, `round ${round}, session ${key}`);
    }
    await store.close();
  }
});

test('the queue is bounded in memory, and requests beyond it are refused', async (t) => {
  const store = await openStore(t);
  const text = 'x'.repeat(1_000_000);
  const written = await Promise.allSettled(Array.from({ length: 80 }, (_, number) => store.set(`session ${number}`, { text })));
  const refused = written.filter(({ reason }) => reason?.code === 'busy').length;
  assert.ok(refused > 5 && refused < 30, `${refused}`);
  assert.equal(await store.countSessions(), 80 - refused);
});

test('a store can be closed while its queue is full, and answers the queued requests', async (t) => {
  const store = await openStore(t);
  const first = store.set('a', {});
  const large = store.set('b', 'x'.repeat((64 << 20) - 300));
  await assert.rejects(store.set('c', {}), { code: 'busy' });
  await store.close();
  assert.equal((await first).outcome, 'written');
  await assert.rejects(large, { code: 'too-large' });
});

test('a closed store answers nothing from memory', async (t) => {
  const store = await openStore(t);
  await store.set('a', {});
  const closed = store.close();
  await assert.rejects(store.get('a'), { code: 'closed' });
  await closed;
});
