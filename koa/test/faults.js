'use strict';

// Faults of the store's worker that a test can cause. Must be required before the store.

const path = require('node:path');
const workerThreads = require('node:worker_threads');

/** The next fault, shared by the threads. */
const next = new Int32Array(new SharedArrayBuffer(4));

workerThreads.Worker = class extends workerThreads.Worker {
  constructor(file, options) {
    super(path.join(__dirname, 'faults_worker.mjs'), { ...options, workerData: { ...options.workerData, worker: file, next } });
  }
};

/** The next write of the component to a file throws an exception that is none of WASI's errors. */
const SHIM = 1;

/** The memory of the component is overwritten in place of its next write to a file, so that it traps. */
const TRAP = 2;

function cause(fault) {
  next[0] = fault;
}

module.exports = { SHIM, TRAP, cause };
