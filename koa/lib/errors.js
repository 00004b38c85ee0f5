'use strict';

/**
 * Why an operation failed: `code` for programs, `message` for logs. It contains neither an
 * id nor a payload. `code` is never one of the file system: to koa-generic-session and
 * express-session, `ENOENT` from a store means "no session".
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

/** The error for a failure of the file system while `doing` something. */
function fromSystem(doing, error) {
  return new SessionsError({ code: 'directory', message: `${doing}: ${error.message}` });
}

module.exports = { SessionsError, invalid, fromSystem };
