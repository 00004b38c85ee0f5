'use strict';

// Transpiles the component into `dist/`: JavaScript that runs it on any Node.
//
// The component is the file named by WASI_SESSIONS_COMPONENT, or the one that `cargo build`
// has built in this repository. A relative CARGO_TARGET_DIR is relative to the repository.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const target = path.resolve(__dirname, '..', process.env.CARGO_TARGET_DIR ?? 'target');
const built = path.join(target, 'component', 'wasm32-wasip2', 'component', 'wasi_sessions_component.wasm');
const component = process.env.WASI_SESSIONS_COMPONENT ?? built;
const dist = path.join(__dirname, 'dist');

/** A generated debug function that reads the environment at each step. Removing it doubles the speed. */
const DEBUG_LOG = /_debugLog=\(\.\.\.(\w+)\)=>\{globalThis\?\.process\?\.env\?\.JCO_DEBUG&&console\.debug\(\.\.\.\1\)\}/g;

if (!fs.existsSync(component)) {
  console.error(`there is no component at ${component}: run \`cargo build\` first, or name one in WASI_SESSIONS_COMPONENT`);
  process.exit(1);
}
fs.rmSync(dist, { recursive: true, force: true });
const jco = path.join(path.dirname(require.resolve('@bytecodealliance/jco')), 'jco.js');
const options = ['--name', 'store', '--instantiation', 'sync', '--minify', '--quiet'];
execFileSync(process.execPath, [jco, 'transpile', component, '--out-dir', dist, ...options], { stdio: 'inherit' });

const generated = path.join(dist, 'store.js');
const code = fs.readFileSync(generated, 'utf8');
const found = code.match(DEBUG_LOG) ?? [];
if (found.length !== 1) throw new Error(`the generated code has ${found.length} functions \`_debugLog\`, not 1`);
fs.writeFileSync(generated, code.replace(DEBUG_LOG, '_debugLog=()=>{}'));
fs.rmSync(path.join(dist, 'store.d.ts'));
fs.rmSync(path.join(dist, 'interfaces'), { recursive: true });
fs.writeFileSync(path.join(dist, 'package.json'), '{ "type": "module" }\n');
