'use strict';

/**
 * The life that a middleware asks for, in whole milliseconds; `undefined` if it is not given.
 *
 * | ttl | meaning |
 * |---|---|
 * | a number above 0, or its digits in a string | that many milliseconds, truncated, at least 1 |
 * | `Infinity` | as long as `absoluteLifetime` allows |
 * | a negative number | the session has expired and ends immediately |
 * | 0, `undefined`, `null`, `NaN`, `'session'`, anything else | not given |
 *
 * If it is not given, the life is `cookie.maxAge` of the session if that is a number of 1 or more;
 * else `cookie.expires` if that is a date, or a date as text; else the option
 * `browserSessionLifetime`.
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

/** Milliseconds until a date, 0 for one in the past; `undefined` for anything but a date. */
function untilDate(date) {
  if (typeof date !== 'string' && !(date instanceof Date)) return undefined;
  const time = new Date(date).getTime();
  return Number.isNaN(time) ? undefined : Math.max(0, time - Date.now());
}

module.exports = { timeToLive, untilDate };
