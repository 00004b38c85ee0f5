// The component's thread: runs the call in each message and answers it.

import { parentPort, workerData } from 'node:worker_threads';

import './environment.mjs';
import { Component, explain } from './component.mjs';
import { Watch } from './watch.mjs';

let component;
let watch;

/** Answers a message; if the component becomes unusable, reports that and ends the thread. */
function answer({ call, parameters }) {
  try {
    const problem = watch.problem();
    let replies = problem ? refuse(problem, call, parameters) : run(call, parameters);
    const later = watch.problemAfter();
    if (later) replies = refuse(later, call, parameters);
    parentPort.postMessage({ replies, now: component.now, files: watch.changes() });
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

/** Closing succeeds, but leaves the files alone: it would write to the database and remove files by name. */
function refuse(error, call, parameters) {
  if (call === 'close') return [{}];
  const refused = call === 'requests' ? parameters : [parameters];
  return refused.map(() => ({ error }));
}

function start() {
  watch = new Watch(workerData);
  const problem = watch.problem();
  if (problem) return { refused: problem };
  component = new Component(workerData);
  watch.watch(component);
  const replaced = watch.problem();
  if (replaced) return { refused: replaced };
  parentPort.on('message', answer);
  return { opened: true, files: watch.changes() };
}

let started;
try {
  started = start();
} catch (error) {
  started = { refused: explain(error) };
}
parentPort.postMessage(started);
