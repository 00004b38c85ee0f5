'use strict';

const path = require('node:path');
const { Worker } = require('node:worker_threads');

const { SessionsError } = require('./errors.js');

const WORKER = path.join(__dirname, 'worker', 'worker.mjs');

/** The most text in the requests of one batch, in characters. */
const MOST_TEXT = 4 << 20;

/** The largest size of the queue, in characters; requests beyond it fail with `busy`. */
const MOST_WAITING = 64 << 20;

/**
 * After a worker could not open the store, no other is started for this many milliseconds:
 * requests fail with the same error meanwhile.
 */
const PAUSE = 1000;

/** The size of a queued item beyond its texts, in characters. */
const ITEM = 200;

const CLOSED = { code: 'closed', message: 'the store is closed' };
/** The codes of errors after which the store must be opened again. */
const LOST = ['replaced', 'lock-lost'];

const OVERLOADED = { code: 'busy', message: 'too many requests wait for the database' };

/**
 * The worker thread with the component, and its queue. At most one message is in flight;
 * requests that arrive meanwhile are queued and sent as one batch (group commit). After a batch
 * of several requests, the next batch waits for one turn of the event loop: most of the callers
 * that were just answered send their next requests in that turn, and these share an fsync.
 *
 * When a worker dies, the requests in flight fail. If requests are queued, another worker is
 * started immediately and runs them.
 */
class Owner {
  #settings;
  #worker;
  #isOpen = false;
  #queue = [];
  #waiting = 0;
  #sent = [];
  /** Whether the last batch had several requests. */
  #gathers = false;
  /** Whether the queue is going to be sent after the next turn. */
  #isGathering = false;
  #closing;
  #onRestart;
  #onLost;
  /** The error that every request gets once the database was replaced or its lock was lost. */
  #lost;
  /** Why and when the last worker could not open the store. */
  #failed = { at: -Infinity };
  /** The last time that the component read from the clock, in milliseconds since the epoch. */
  now = 0;

  /**
   * Starts the worker, and resolves when the store is open. `onRestart` is called when a worker
   * has died, `onLost` when the database must not be used any more.
   */
  static async open(settings, callbacks) {
    const owner = new Owner(settings, callbacks);
    await owner.#start();
    return owner;
  }

  constructor(settings, { onRestart, onLost }) {
    this.#settings = settings;
    this.#onRestart = onRestart;
    this.#onLost = onLost;
  }

  /** Queues a request; it may be sent in a batch with others. */
  request(request) {
    const text = request.data ?? request.patch ?? '';
    return this.#enqueue({ request, size: ITEM + (request.id?.length ?? 0) + text.length });
  }

  /** Queues the call of another function, which is sent alone. */
  call(call, parameters) {
    // Closing must not fail because the queue is full.
    return this.#enqueue({ call, parameters, size: call === 'close' ? 0 : ITEM });
  }

  /** Runs the queued requests, closes the database and ends the worker. */
  close() {
    if (!this.#closing) {
      // Without a worker, one would be started, which must not open a database that is lost.
      const closed = this.#lost && !this.#isOpen ? Promise.resolve() : this.call('close', {});
      this.#closing = closed.then(
        () => this.#end(),
        async (error) => {
          await this.#end();
          // As with a worker: closing succeeds, but leaves the files of a lost database alone.
          if (!this.#lost) throw error;
        },
      );
    }
    return this.#closing;
  }

  #enqueue(item) {
    if (this.#closing) return Promise.reject(new SessionsError(CLOSED));
    if (this.#lost && item.call !== 'close') return Promise.reject(new SessionsError(this.#lost));
    if (this.#waiting + item.size > MOST_WAITING) return Promise.reject(new SessionsError(OVERLOADED));
    return new Promise((resolve, reject) => {
      Object.assign(item, { resolve, reject });
      this.#queue.push(item);
      this.#waiting += item.size;
      this.#sendSoon();
    });
  }

  /** Sends the queue, immediately or after the next turn of the event loop. */
  #sendSoon() {
    if (!this.#gathers || !this.#isOpen) this.#send();
    else if (!this.#isGathering && this.#sent.length === 0 && this.#queue.length > 0) {
      this.#isGathering = true;
      const send = () => {
        this.#isGathering = false;
        this.#send();
      };
      // Twice: the first `setImmediate` runs before those of the callers that were just answered.
      setImmediate(() => setImmediate(send));
    }
  }

  /** Sends the next batch or call, unless a message is in flight. */
  #send() {
    if (this.#sent.length > 0 || this.#queue.length === 0) return;
    if (!this.#isOpen) {
      this.#restart();
      return;
    }
    this.#sent = this.#take();
    this.#gathers = this.#sent.length > 1;
    const [{ call, parameters }] = this.#sent;
    // The process must not end while a request is in flight.
    this.#worker.ref();
    this.#worker.postMessage(call ? { call, parameters } : { call: 'requests', parameters: this.#sent.map(({ request }) => request) });
  }

  /** Takes the first item of the queue, and the requests after it that fit into the same batch. */
  #take() {
    let [count, size] = [0, 0];
    for (const item of this.#queue) {
      if (count > 0 && (item.call || count === this.#settings.mostRequests || size + item.size > MOST_TEXT)) break;
      count += 1;
      size += item.size;
      if (item.call) break;
    }
    this.#waiting -= size;
    return this.#queue.splice(0, count);
  }

  #answered({ replies, now }) {
    const sent = this.#sent;
    this.#sent = [];
    this.now = now;
    sent.forEach((item, index) => {
      const { error, value } = replies[index];
      this.#note(error);
      if (error) item.reject(new SessionsError(error));
      else item.resolve(value);
    });
    this.#sendSoon();
    if (this.#sent.length === 0) this.#worker?.unref();
  }

  /** Records an error after which the database must not be used any more. */
  #note(error) {
    if (this.#lost || !LOST.includes(error?.code)) return;
    this.#lost = error;
    this.#onLost();
  }

  #start() {
    return new Promise((resolve, reject) => {
      const worker = new Worker(WORKER, {
        name: 'wasi-sessions',
        workerData: this.#settings,
        // Node's options and the application's environment are not meant for this thread.
        execArgv: [],
        env: {},
      });
      this.#worker = worker;
      let failure = { code: 'crashed', message: 'the thread of the store ended' };
      worker.on('message', (message) => {
        // For the next worker, which must find the same files.
        if (message.files) this.#settings.files = message.files;
        if (message.opened) {
          this.#isOpen = true;
          resolve();
          worker.unref();
          this.#send();
        } else if (message.replies) {
          this.#answered(message);
        } else {
          failure = message.refused ?? message.crashed;
          this.#note(failure);
        }
      });
      worker.on('error', (error) => {
        failure = { code: 'crashed', message: `the thread of the store failed: ${error.message}` };
      });
      worker.on('exit', () => {
        const error = new SessionsError(failure);
        reject(error);
        if (this.#worker === worker) this.#ended(error);
      });
    });
  }

  /** Fails the requests in flight, and starts another worker if requests are queued. */
  #ended(error) {
    const wasOpen = this.#isOpen;
    this.#isOpen = false;
    this.#worker = undefined;
    const sent = this.#sent;
    this.#sent = [];
    for (const item of sent) item.reject(error);
    if (!wasOpen) return;
    this.#onRestart();
    if (this.#queue.length > 0) this.#restart();
  }

  /** Starts a worker for the queue, unless one is starting. If that fails, the queued requests fail. */
  async #restart() {
    if (this.#worker) return;
    try {
      if (performance.now() < this.#failed.at + PAUSE) throw this.#failed.error;
      await this.#start();
    } catch (error) {
      if (error !== this.#failed.error) this.#failed = { error, at: performance.now() };
      this.#waiting = 0;
      for (const item of this.#queue.splice(0)) item.reject(error);
    }
  }

  async #end() {
    const worker = this.#worker;
    if (!worker) return;
    this.#worker = undefined;
    this.#isOpen = false;
    await worker.terminate();
  }
}

module.exports = { Owner };
