'use strict';

// A clock that a test can move, in this thread and in the store's. Must be required before the
// store.

const path = require('node:path');
const workerThreads = require('node:worker_threads');

/** Milliseconds by which the clock was moved, shared by the threads. */
const moved = new Float64Array(new SharedArrayBuffer(8));

const now = Date.now;
globalThis.Date = class extends Date {
  constructor(...parameters) {
    super(...(parameters.length > 0 ? parameters : [Date.now()]));
  }

  static now() {
    return now() + moved[0];
  }
};

workerThreads.Worker = class extends workerThreads.Worker {
  constructor(file, options) {
    super(path.join(__dirname, 'clock_worker.mjs'), { ...options, workerData: { ...options.workerData, worker: file, moved } });
  }
};

function forward(milliseconds) {
  moved[0] += milliseconds;
}

module.exports = { forward };
