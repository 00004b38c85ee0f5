'use strict';

const { SessionsError } = require('./errors.js');
const { open } = require('./open.js');

exports.open = open;
exports.SessionsError = SessionsError;
