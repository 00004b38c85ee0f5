'use strict';

const { Directory } = require('./directory.js');
const { SessionsError, invalid } = require('./errors.js');
const { Owner } = require('./owner.js');
const { ReadCache } = require('./read_cache.js');
const { Store } = require('./store.js');

/** The default of the option `file`. */
const FILE = 'sessions.db';

/** The default of the option `readCache`, in bytes. */
const READ_CACHE = 32 << 20;

/** The default of the option `maxData`, in bytes. */
const MAX_DATA = 1 << 20;

/** The default of the option `syncTimeout`, in milliseconds. */
const SYNC_TIMEOUT = 3000;

/** The most requests of one batch. */
const MOST_REQUESTS = 128;

/** The most bytes of sessions that one batch may read. */
const MOST_READ = 128 << 20;

/**
 * Opens a store. Options that this package does not know are passed to the component; an
 * unknown name or a value out of range is an `invalid-argument` that names the option.
 */
async function open(options = {}) {
  const { directory: given, file = FILE, readCache = READ_CACHE, access = 'exclusive', timestamps: _always, ...rest } = options;
  if (typeof given !== 'string' || given === '') throw invalid('directory: must be the path of a directory');
  if (!Number.isFinite(readCache) || readCache < 0) throw invalid('readCache: must be a number of bytes');
  if (process.permission) {
    throw new SessionsError({
      code: 'no-sync',
      message: "Node's permission model denies fsync, without which no write is durable",
    });
  }
  const component = { access, ...rest };
  // In koa-generic-session-sequelize this option may be negative.
  if (component.gcFrequency < 0) component.gcFrequency = 0;

  const isShared = access === 'shared';
  const cache = isShared || readCache === 0 ? undefined : new ReadCache(readCache);
  const directory = new Directory(given, file, isShared);
  try {
    if (!isShared) await directory.takeLease(patience(component.syncTimeout));
    const settings = {
      ...directory.root,
      directory: directory.path,
      file,
      token: directory.token,
      options: toJson(component),
      mostRequests: mostRequests(component.maxData),
    };
    const owner = await Owner.open(settings, { onRestart: () => cache?.clear(), onLost: () => cache?.end() });
    directory.holdDatabase();
    return new Store({ owner, directory, cache, boundsSubjects: component.maxPerSubject != null });
  } catch (error) {
    directory.close();
    throw error;
  }
}

/** How long to wait for the lease; the component refuses a value out of range afterwards. */
function patience(syncTimeout) {
  return Number.isFinite(syncTimeout) ? syncTimeout : SYNC_TIMEOUT;
}

/** The most requests of a batch, so that the sessions it reads have at most `MOST_READ` bytes. */
function mostRequests(maxData) {
  const longest = typeof maxData === 'number' && maxData >= 1 ? maxData : MAX_DATA;
  return Math.max(1, Math.min(MOST_REQUESTS, Math.floor(MOST_READ / longest)));
}

/** Options as JSON. A value that JSON does not have becomes `{}`, which every option refuses with its name. */
function toJson(options) {
  const isNone = (value) => ['bigint', 'function', 'symbol'].includes(typeof value) || Number.isNaN(value);
  return JSON.stringify(options, (_name, value) => (isNone(value) ? {} : value));
}

module.exports = { open };
