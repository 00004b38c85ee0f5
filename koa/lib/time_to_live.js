'use strict';

/**
 * The life that a middleware asks for, in whole milliseconds; `undefined` where it asks for none.
 *
 * | ttl | meaning |
 * |---|---|
 * | a number above 0, or its digits in a string | so many milliseconds, a fraction cut off, at least 1 |
 * | `Infinity` | as long as `absoluteLifetime` allows |
 * | a negative number | the session has expired: it ends at once |
 * | 0, `undefined`, `null`, `NaN`, `'session'`, anything else | none given |
 *
 * Where none is given, `cookie.maxAge` of the session counts if it is a number of 1 or more; else
 * `cookie.expires` if it is a date, or a date as text; else the option `browserSessionLifetime`.
 */
function timeToLive(ttl, session) {
  const given = toMilliseconds(ttl);
  if (given !== undefined) return given;
  const { maxAge, expires } = session?.cookie ?? {};
  return typeof maxAge === 'number' && maxAge >= 1 ? toMilliseconds(maxAge) : untilDate(expires);
}

function toMilliseconds(ttl) {
  if (typeof ttl === 'string' && ttl.trim() === '') return undefined;
  const number = typeof ttl === 'number' || typeof ttl === 'string' ? Number(ttl) : NaN;
  if (Number.isNaN(number) || number === 0) return undefined;
  return number < 0 ? 0 : Math.max(1, Math.trunc(number));
}

/** Milliseconds until a date, 0 for one that has passed; `undefined` for what is no date. */
function untilDate(date) {
  if (typeof date !== 'string' && !(date instanceof Date)) return undefined;
  const time = new Date(date).getTime();
  return Number.isNaN(time) ? undefined : Math.max(0, time - Date.now());
}

module.exports = { timeToLive, untilDate };
