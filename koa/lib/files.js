'use strict';

// What the directory and the lease of a store need of the file system.

const fs = require('node:fs');

const { O_DIRECTORY, O_RDONLY } = fs.constants;

/** Makes the names in a directory durable. */
function syncDirectory(directory) {
  const fd = fs.openSync(directory, O_RDONLY | (O_DIRECTORY ?? 0));
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    // Some file systems cannot sync a directory.
    if (error.code !== 'EINVAL') throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** Whether an operation succeeds, of which a failure has no other consequence. */
function succeeds(operation) {
  try {
    operation();
    return true;
  } catch {
    return false;
  }
}

module.exports = { succeeds, syncDirectory };
