#!/usr/bin/env node
'use strict';

const path = require('node:path');
const { parseArgs } = require('node:util');

const { importSessions } = require('../lib/import/import.js');
const { open } = require('../lib/index.js');

const USAGE = `Copies the sessions of another store into a store of koa-wasi-sessions.

wasi-sessions import --from FILE [--table NAME] --directory DIRECTORY [--file NAME] [--to-table NAME]

  --from FILE            a SQLite database of koa-generic-session-sequelize, connect-sqlite3,
                         better-sqlite3-session-store or tower-sessions; it is only read
  --table NAME           its table, if several can be imported
  --directory DIRECTORY  the store's directory, which no process may have open
  --file NAME            the store's database in it, by default sessions.db
  --to-table NAME        the store's table, by default Sessions

The environment variables WASI_SESSIONS_KEY and WASI_SESSIONS_PREVIOUS_KEY are the options \`key\`
and \`previousKey\` of the store.

Sessions that have expired, are broken, or exist already are skipped and counted.`;

const OPTIONS = {
  from: { type: 'string' },
  table: { type: 'string' },
  directory: { type: 'string' },
  file: { type: 'string' },
  'to-table': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
};

async function main() {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  if (values.help) return console.log(USAGE);
  if (positionals.join() !== 'import' || !values.from || !values.directory) throw new Error(`wrong usage\n\n${USAGE}`);
  const { from, table, directory, file } = values;
  if (path.resolve(from) === path.resolve(directory, file ?? 'sessions.db')) {
    throw new Error('the store migrates this file in place when it is opened; there is nothing to import');
  }
  const { WASI_SESSIONS_KEY: key, WASI_SESSIONS_PREVIOUS_KEY: previousKey } = process.env;
  const tableName = values['to-table'];
  // No cache: nothing is read back.
  const store = await open({ directory, readCache: 0, ...(file && { file }), ...(tableName && { tableName }), key, previousKey });
  try {
    const show = ({ total, ...counts }) => {
      const done = counts.imported + counts.present + counts.expired + counts.broken;
      process.stderr.write(`\r${done} of ${total}`);
    };
    const counts = await importSessions(store, { from, table, onProgress: process.stderr.isTTY ? show : undefined });
    if (process.stderr.isTTY) process.stderr.write('\r');
    const { imported, present, expired, broken } = counts;
    console.log(`table ${counts.table} of ${counts.layout}: ${imported} imported, ${present} there already, ${expired} expired, ${broken} broken`);
  } finally {
    await store.close();
  }
}

main().catch((error) => {
  console.error(`wasi-sessions: ${error.message}`);
  process.exitCode = 1;
});
