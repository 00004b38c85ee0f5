'use strict';

/**
 * Why an operation failed: `code` for programs, `message` for logs. It carries neither an
 * id nor a payload, and no code of the file system: `ENOENT` from a store means "no
 * session" to koa-generic-session and express-session.
 */
class SessionsError extends Error {
  constructor({ code, message, limit }, options) {
    super(message, options);
    this.name = 'SessionsError';
    this.code = code;
    if (limit !== undefined) this.limit = limit;
  }
}

/** An argument is outside what its documentation allows. */
function invalid(message) {
  return new SessionsError({ code: 'invalid-argument', message });
}

/** A failure of the file system, in words. */
function fromSystem(doing, error) {
  return new SessionsError({ code: 'directory', message: `${doing}: ${error.message}` });
}

module.exports = { SessionsError, invalid, fromSystem };
