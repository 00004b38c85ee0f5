// The store's worker with the clock of `clock.js`.

import { pathToFileURL } from 'node:url';
import { workerData } from 'node:worker_threads';

const { moved, worker } = workerData;
const now = Date.now;
Date.now = () => now() + moved[0];

await import(pathToFileURL(worker));
