'use strict';

const { Directory } = require('./directory.js');
const { SessionsError, invalid } = require('./errors.js');
const { Owner } = require('./owner.js');
const { ReadCache } = require('./read_cache.js');
const { Store } = require('./store.js');

/** The database in the directory unless the option `file` names another. */
const FILE = 'sessions.db';

/** Bytes of the read cache unless the option `readCache` says otherwise. */
const READ_CACHE = 32 << 20;

/** The default of the option `maxData`, in bytes. */
const MAX_DATA = 1 << 20;

/** The most requests of one batch, and the bytes that the sessions it reads may have together. */
const MOST_REQUESTS = 128;
const MOST_READ = 128 << 20;

/**
 * Opens a store. Options that are not of this package are the component's; an unknown name
 * or a value out of range is an `invalid-argument` that says which.
 */
async function open(options = {}) {
  const { directory: given, file = FILE, readCache = READ_CACHE, timestamps: _always, ...rest } = options;
  if (typeof given !== 'string' || given === '') throw invalid('directory: must be the path of a directory');
  if (!Number.isFinite(readCache) || readCache < 0) throw invalid('readCache: must be a number of bytes');
  if (process.permission) {
    throw new SessionsError({
      code: 'no-sync',
      message: "Node's permission model denies fsync, without which no write is durable",
    });
  }
  const component = { access: 'exclusive', ...rest };
  // The original's option may be negative.
  if (component.gcFrequency < 0) component.gcFrequency = 0;

  const isShared = component.access === 'shared';
  const cache = isShared || readCache === 0 ? undefined : new ReadCache(readCache);
  const directory = new Directory(given, file, isShared);
  const settings = {
    ...directory.root,
    directory: directory.path,
    file,
    options: toJson(component),
    mostRequests: mostRequests(component.maxData),
  };
  try {
    const owner = await Owner.open(settings, () => cache?.clear());
    return new Store({ owner, directory, cache, boundsSubjects: component.maxPerSubject != null });
  } catch (error) {
    directory.close();
    throw error;
  }
}

/** How many requests a batch may have, so that what it reads is bounded. */
function mostRequests(maxData) {
  const longest = typeof maxData === 'number' && maxData >= 1 ? maxData : MAX_DATA;
  return Math.max(1, Math.min(MOST_REQUESTS, Math.floor(MOST_READ / longest)));
}

/** Options as JSON. A value that JSON has not becomes `{}`, which no option accepts, so that it is refused by name. */
function toJson(options) {
  const isNone = (value) => ['bigint', 'function', 'symbol'].includes(typeof value) || Number.isNaN(value);
  return JSON.stringify(options, (_name, value) => (isNone(value) ? {} : value));
}

module.exports = { open };
