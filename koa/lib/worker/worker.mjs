// The component's thread: runs the call in each message and answers it.

import { parentPort, workerData } from 'node:worker_threads';

import './environment.mjs';
import { Component, explain } from './component.mjs';
import { Watch } from './watch.mjs';

const REPLACED = { code: 'replaced', message: 'the database or its directory was moved, removed or replaced' };

let component;
let watch;

/** Answers a message; if the component becomes unusable, reports that and ends the thread. */
function answer({ call, parameters }) {
  try {
    const replies = call === 'close' || watch.isInPlace() ? run(call, parameters) : refuse(call, parameters);
    parentPort.postMessage({ replies, now: component.now });
  } catch (error) {
    parentPort.postMessage({ crashed: explain(error) });
    process.exit(1);
  }
}

function run(call, parameters) {
  switch (call) {
    case 'requests':
      return component.requests(parameters);
    case 'backup':
      return [component.backup(parameters)];
    case 'close':
      component.close();
      return [{}];
    default:
      return [component.admin(call, parameters)];
  }
}

function refuse(call, parameters) {
  const refused = call === 'requests' ? parameters : [parameters];
  return refused.map(() => ({ error: REPLACED }));
}

try {
  component = new Component(workerData);
  watch = new Watch(workerData);
  parentPort.on('message', answer);
  parentPort.postMessage({ opened: true });
} catch (error) {
  parentPort.postMessage({ refused: explain(error) });
}
