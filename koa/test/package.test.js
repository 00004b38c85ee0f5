'use strict';

// The package as its users get it: packed, installed into an empty folder, and used as in its
// README and examples.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');

const { HOST, Program, directory, noHost } = require('./support.js');

const ROOT = path.join(__dirname, '..');

/** The code of the README after the line that names its file. */
function readme(name) {
  const text = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  return new RegExp(`\`${name.replace('.', '\\.')}\`:\n\n\`\`\`js\n([^]*?)\`\`\``).exec(text)[1];
}

function example(name) {
  return fs.readFileSync(path.join(ROOT, 'examples', name), 'utf8');
}

/** A folder in which the packed package is installed, with links to the middlewares. */
function installed(t) {
  const folder = directory(t);
  fs.mkdirSync(folder);
  const npm = (parameters, cwd) => execFileSync('npm', parameters, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  // Without `prepack`, which would replace `dist` while other tests use it.
  const [{ filename }] = JSON.parse(npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], ROOT));
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  npm(['install', '--offline', '--no-audit', '--no-fund', `./${filename}`], folder);
  const own = path.join(folder, 'node_modules', 'koa-wasi-sessions');
  assert.deepEqual(fs.readdirSync(path.join(folder, 'node_modules')).filter((name) => !name.startsWith('.')), ['koa-wasi-sessions']);
  for (const name of fs.readdirSync(path.join(ROOT, 'node_modules')).filter((name) => !name.startsWith('.'))) {
    fs.symlinkSync(path.join(ROOT, 'node_modules', name), path.join(folder, 'node_modules', name));
  }
  return { folder, own };
}

test('the package is small, and has no dependency and no install script', (t) => {
  const { own } = installed(t);
  const manifest = JSON.parse(fs.readFileSync(path.join(own, 'package.json'), 'utf8'));
  assert.equal(manifest.dependencies, undefined);
  for (const script of ['preinstall', 'install', 'postinstall']) assert.equal(manifest.scripts[script], undefined);
  assert.deepEqual(fs.readdirSync(own).sort(), ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'bin', 'dist', 'index.d.ts', 'lib', 'package.json']);
});

test('the command of the README runs only in the folder in which the package is installed', (t) => {
  const { folder } = installed(t);
  const [, command] = /```sh\n(npx .* import) /.exec(fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8'));
  // No registry is asked for a package of this name.
  const env = { ...process.env, npm_config_registry: 'http://127.0.0.1:9', npm_config_fetch_retries: '0' };
  const help = (cwd) => spawnSync('sh', ['-c', `${command} --help`], { cwd, env, encoding: 'utf8' });
  const { stdout, stderr } = help(folder);
  assert.match(stdout, /^Copies the sessions/, stderr);
  assert.match(command, / --no /);
  assert.notEqual(help(path.dirname(folder)).status, 0);
});

test("the licenses are the repository's", () => {
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) {
    assert.equal(fs.readFileSync(path.join(ROOT, name), 'utf8'), fs.readFileSync(path.join(ROOT, '..', name), 'utf8'));
  }
});

test('the programs of the README demand a key', async (t) => {
  const { folder } = installed(t);
  for (const name of ['app.mjs', 'app.cjs']) {
    fs.writeFileSync(path.join(folder, name), readme(name));
    const { SESSION_KEY, ...env } = process.env;
    const program = new Program(t, [name], { cwd: folder, env });
    assert.deepEqual(await program.exited, [1, null]);
    assert.match(program.errors, /SESSION_KEY is missing/);
  }
});

test('jco takes the component that the Rust program writes', { skip: noHost }, (t) => {
  const file = directory(t);
  execFileSync(HOST, ['component', '--output', file]);
  const jco = path.join(path.dirname(require.resolve('@bytecodealliance/jco')), 'jco.js');
  const contract = execFileSync(process.execPath, [jco, 'wit', file], { encoding: 'utf8' });
  assert.match(contract, /export wasi-sessions:store\/sessions@/);
});

test('the examples are the programs of the README', () => {
  assert.equal(readme('app.mjs'), example('koa.mjs'));
  assert.equal(readme('app.cjs'), example('express.cjs'));
});

test('the programs of the README keep sessions over a restart, as ESM and as CommonJS', async (t) => {
  const { folder } = installed(t);
  for (const name of ['app.mjs', 'app.cjs']) {
    fs.writeFileSync(path.join(folder, name), readme(name));
    const sessions = path.join(folder, `sessions of ${name}`);
    let cookie = '';
    for (const expected of ['visit 1\n', 'visit 2\n']) {
      const program = new Program(t, [name], { cwd: folder, env: { ...process.env, PORT: '0', SESSIONS: sessions, SESSION_KEY: 'of the test' } });
      const { value: address } = await program.lines.next();
      const { text, headers } = await get(address, cookie);
      assert.equal(text, expected, program.errors);
      cookie ||= headers['set-cookie'].map((line) => line.split(';')[0]).join('; ');
      assert.deepEqual(await program.end('SIGTERM'), [0, null]);
    }
  }
});

test('the types agree with the examples under strict TypeScript', (t) => {
  const { folder } = installed(t);
  fs.writeFileSync(path.join(folder, 'typescript.mts'), example('typescript.ts'));
  fs.writeFileSync(path.join(folder, 'typescript.cts'), example('typescript.ts'));
  const options = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--skipLibCheck', '--outDir', 'out', '--esModuleInterop'];
  execFileSync(process.execPath, [path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), ...options, 'typescript.mts', 'typescript.cts'], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  for (const name of ['typescript.mjs', 'typescript.cjs']) {
    const load = `import('./out/${name}').then(({ main }) => main('sessions of ${name}', 'a secret')).then(console.log)`;
    assert.equal(execFileSync(process.execPath, ['-e', load], { cwd: folder, encoding: 'utf8' }), 'version 3 of 1 session\n');
  }
});

function get(address, cookie) {
  return new Promise((resolve, reject) => {
    const request = http.get(address, { agent: false, headers: cookie ? { cookie } : {} }, (response) => {
      let text = '';
      response.on('data', (data) => (text += data));
      response.on('end', () => resolve({ text, headers: response.headers }));
    });
    request.on('error', reject);
  });
}
