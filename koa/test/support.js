'use strict';

// Helpers of several tests: directories, stores, programs in separate processes.

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { Worker } = require('node:worker_threads');

const { open } = require('koa-wasi-sessions');

// Compiling the component takes seconds on a busy machine. V8 shares the code of modules with
// the same bytes while one of them is alive.
const component = path.join(__dirname, '..', 'dist', 'store.core.wasm');
globalThis.compiled = new WebAssembly.Module(fs.readFileSync(component));

/** Where cargo builds; a relative path is relative to the repository. */
const TARGET = path.resolve(__dirname, '..', '..', process.env.CARGO_TARGET_DIR ?? 'target');

const { WASI_SESSIONS_HOST } = process.env;

/** The command line of the repository. */
const HOST = WASI_SESSIONS_HOST ?? path.join(TARGET, 'debug', 'wasi-sessions');

/** Why tests that need it are skipped, if they are: never when WASI_SESSIONS_HOST names it. */
const noHost = WASI_SESSIONS_HOST === undefined && !fs.existsSync(HOST) && `\`cargo build\` has not made ${HOST}`;

/** A new directory, removed after the test. */
function directory(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'koa-wasi-sessions-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return path.join(made, 'sessions');
}

/** The paths of the files in a directory and its folders. */
function filesIn(folder) {
  const names = fs.readdirSync(folder, { recursive: true }).map((name) => path.join(folder, name));
  return names.filter((name) => fs.statSync(name).isFile());
}

/** A store in a new directory, closed after the test. */
async function openStore(t, options = {}) {
  const store = await open({ directory: directory(t), ...options });
  t.after(() => store.close());
  return store;
}

/** A program in a separate process, by default of Node, which is killed after the test. */
class Program {
  constructor(t, parameters, { program = process.execPath, ...options } = {}) {
    this.child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    this.errors = '';
    this.child.stderr.on('data', (data) => (this.errors += data));
    this.exited = once(this.child, 'exit');
    this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    t.after(() => this.child.kill('SIGKILL'));
  }

  /** The next line of its output, as JSON. */
  async next() {
    const { value } = await this.lines.next();
    if (value === undefined) throw new Error(`the program ended: ${this.errors}`);
    return JSON.parse(value);
  }

  say(message) {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  /** Ends it with a signal, and waits until it has ended. */
  async end(signal = 'SIGTERM') {
    this.child.kill(signal);
    return this.exited;
  }
}

/** Runs a program given as text, in which `open`, `directory` and `say` are defined. */
function run(t, directory, text, { parameters = [], ...options } = {}) {
  const head = `const { open } = require(${JSON.stringify(path.join(__dirname, '..'))});
    const directory = ${JSON.stringify(directory)};
    const say = (message) => console.log(JSON.stringify(message));`;
  return new Program(t, [...parameters, '-e', `${head}\n${text}`], options);
}

/** Calls `use` with a PATH that has only these programs, as shell scripts or, if empty, as links. */
async function withPrograms(t, programs, use) {
  const bin = directory(t);
  fs.mkdirSync(bin);
  for (const [name, text] of Object.entries(programs)) {
    if (text) fs.writeFileSync(path.join(bin, name), text, { mode: 0o755 });
    else fs.symlinkSync(which(name), path.join(bin, name));
  }
  const before = process.env.PATH;
  process.env.PATH = bin;
  try {
    return await use();
  } finally {
    process.env.PATH = before;
  }
}

function which(name) {
  return spawnSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
}

/** The workers that are started while a test runs. */
function workers(t) {
  const started = [];
  const { ref } = Worker.prototype;
  Worker.prototype.ref = function () {
    if (!started.includes(this)) started.push(this);
    return ref.call(this);
  };
  t.after(() => (Worker.prototype.ref = ref));
  return started;
}

module.exports = { HOST, Program, directory, filesIn, noHost, open, openStore, run, which, withPrograms, workers };
