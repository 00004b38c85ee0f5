// The store's worker with the faults of `faults.js`, each of which happens once.

import { pathToFileURL } from 'node:url';
import { workerData } from 'node:worker_threads';

import { Descriptor } from '../lib/worker/files.mjs';

const { next, worker } = workerData;
const [SHIM, TRAP] = [1, 2];
const happens = (fault) => Atomics.compareExchange(next, 0, fault, 0) === fault;

let memory;
WebAssembly.Instance = class extends WebAssembly.Instance {
  constructor(...parameters) {
    super(...parameters);
    memory ??= this.exports.memory;
  }
};

const { write } = Descriptor.prototype;
Descriptor.prototype.write = function (bytes, offset) {
  if (happens(SHIM)) throw new Error('a bug in the shim');
  if (happens(TRAP)) {
    new Uint8Array(memory.buffer).fill(0xff);
    return BigInt(bytes.length);
  }
  return write.call(this, bytes, offset);
};

await import(pathToFileURL(worker));
