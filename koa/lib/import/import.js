'use strict';

const { SessionsError } = require('../errors.js');
const { recordData } = require('./message_pack.js');

/** The most rows of a page; the rows of a page are sent to the store together. */
const ROWS = 256;

/** A page ends after this many bytes of payloads. */
const PAGE = 4 << 20;

/** The longest payload that is read, in bytes; a longer one counts as broken. */
const LONGEST = 16 << 20;

const seconds = (value) => Number(value) * 1000;
const milliseconds = (value) => Number(value);
/** Seconds, or a date as text. Text without a time zone is UTC, as SQLite writes it. */
const date = (value) => {
  if (typeof value !== 'string') return seconds(value);
  return Date.parse(/(Z|[+-]\d\d:?\d\d)$/i.test(value) ? value : `${value.replace(' ', 'T')}Z`);
};
const text = (value) => (typeof value === 'string' ? value : new TextDecoder('utf-8', { fatal: true }).decode(value));

/** The tables of other stores, recognised by their columns. */
const LAYOUTS = [
  { name: 'koa-generic-session-sequelize', id: 'id', data: 'data', expires: 'expires', toExpires: seconds, toText: text },
  { name: 'connect-sqlite3', id: 'sid', data: 'sess', expires: 'expired', toExpires: milliseconds, toText: text },
  { name: 'better-sqlite3-session-store', id: 'sid', data: 'sess', expires: 'expire', toExpires: date, toText: text },
  { name: 'tower-sessions', id: 'id', data: 'data', expires: 'expiry_date', toExpires: date, toText: recordData },
];

/** Opens a SQLite database for reading, with Node's own module. */
function openSource(from) {
  let sqlite;
  try {
    sqlite = require('node:sqlite');
  } catch {
    throw failure('reading another database needs Node 22.13 or later; the store itself does not');
  }
  try {
    const source = new sqlite.DatabaseSync(from, { readOnly: true });
    source.exec('PRAGMA busy_timeout = 5000; PRAGMA query_only = 1; SELECT count(*) FROM sqlite_master');
    return source;
  } catch (error) {
    throw unreadable(from, error);
  }
}

function unreadable(from, error) {
  return failure(`cannot read \`${from}\`: ${error.message}`);
}

function failure(message) {
  return new SessionsError({ code: 'invalid-argument', message });
}

/** Finds the table and its layout. */
function findTable(source, wanted) {
  const names = source.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all().map(({ name }) => name);
  if (wanted !== undefined && !names.some((name) => name.toLowerCase() === wanted.toLowerCase())) {
    throw failure(`there is no table \`${wanted}\``);
  }
  const found = [];
  for (const name of wanted === undefined ? names : [wanted]) {
    const columns = source.prepare(`PRAGMA table_info(${quoted(name)})`).all().map((column) => column.name.toLowerCase());
    const layout = LAYOUTS.find(({ id, data, expires }) => [id, data, expires].every((column) => columns.includes(column)));
    if (layout) found.push({ name, layout });
  }
  if (found.length === 1) return found[0];
  if (found.length === 0) throw failure('no table has the columns of a known store');
  throw failure(`several tables can be imported: ${found.map(({ name }) => name).join(', ')}; name one with \`--table\``);
}

function quoted(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * Copies the live sessions of another store's database: ids, payloads, expiries. Sessions that
 * exist already, or were ended here, are not overwritten, so that an import can be repeated.
 *
 * Memory is bounded, whatever the number and size of the sessions. `onProgress` is called with
 * the counts after each page.
 */
async function importSessions(store, { from, table, onProgress = () => {} }) {
  const source = openSource(from);
  try {
    const { name, layout } = findTable(source, table);
    const rows = source.prepare(selection(name, layout));
    rows.setReadBigInts(true);
    const total = Number(source.prepare(`SELECT count(*) AS rows FROM ${quoted(name)}`).get().rows);
    const counts = { table: name, layout: layout.name, total, imported: 0, present: 0, expired: 0, broken: 0 };
    let place = -(2n ** 63n);
    for (;;) {
      const page = readPage(rows, place);
      if (page.length === 0) return counts;
      place = page.at(-1).place;
      for (const result of await Promise.all(page.map((row) => importRow(store, row, layout)))) counts[result] += 1;
      onProgress(counts);
    }
  } catch (error) {
    throw error.code === 'ERR_SQLITE_ERROR' ? unreadable(from, error) : error;
  } finally {
    source.close();
  }
}

/** SQL that selects the rows after a rowid; a payload that is too long becomes NULL. */
function selection(name, layout) {
  const [id, data, expires] = [layout.id, layout.data, layout.expires].map(quoted);
  return `SELECT rowid AS place, ${id} AS id, ${expires} AS expires,
      CASE WHEN length(CAST(${data} AS BLOB)) <= ${LONGEST} THEN ${data} END AS data
    FROM ${quoted(name)} WHERE rowid > ? ORDER BY rowid LIMIT ${ROWS}`;
}

/** The next page of rows after a rowid. */
function readPage(rows, place) {
  const page = [];
  let size = 0;
  for (const row of rows.iterate(place)) {
    page.push(row);
    size += row.data?.length ?? 0;
    if (size >= PAGE) break;
  }
  return page;
}

/** Imports a row; returns `imported`, `present`, `expired` or `broken`. */
async function importRow(store, row, { toExpires, toText }) {
  let data, ttl;
  try {
    ttl = Math.trunc(toExpires(row.expires)) - Date.now();
    data = toText(row.data);
    if (!isSession(JSON.parse(data))) return 'broken';
  } catch {
    return 'broken';
  }
  if (row.expires === null || Number.isNaN(ttl) || typeof row.id !== 'string') return 'broken';
  if (ttl <= 0) return 'expired';
  try {
    const { outcome } = await store.insert(row.id, data, ttl);
    return outcome === 'written' ? 'imported' : 'present';
  } catch (error) {
    if (['invalid-argument', 'too-large'].includes(error.code)) return 'broken';
    throw error;
  }
}

function isSession(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

module.exports = { importSessions };
