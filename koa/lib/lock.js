'use strict';

// The lock on a store's directory: flock(2), as in the Rust host. Node has no function for it.
// But the lock belongs to the open file description, which a child process shares: so a child
// process takes the lock, and this process still holds it after the child has ended.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');

const { SessionsError } = require('./errors.js');

/** The exit status of the Perl program when another process holds the lock. */
const PERL_IN_USE = 75;

const PERL = `
  use Errno;
  open(my $file, "<&=", 3) or exit 1;
  exit 0 if flock($file, $ARGV[0]);
  exit($!{EWOULDBLOCK} ? ${PERL_IN_USE} : 1);
`;

/** LOCK_NB with LOCK_SH or LOCK_EX. */
const SHARED = 5;
const EXCLUSIVE = 6;

/** Programs that can lock the open file 3, in the order in which they are tried. */
const PROGRAMS = [
  { name: 'flock', inUse: 1, parameters: (isShared) => ['-n', ...(isShared ? ['-s'] : []), '3'] },
  { name: 'perl', inUse: PERL_IN_USE, parameters: (isShared) => ['-e', PERL, isShared ? SHARED : EXCLUSIVE] },
];

/** Milliseconds after which a program that has not ended is killed. */
const TIME_OUT = 10_000;

/**
 * Locks an open directory. Throws `in-use` when another process holds the lock, and `no-lock`
 * when the directory cannot be locked. Shared access does not need the lock, since the component
 * has its own, and goes on without it.
 */
function lock(fd, directory, isShared) {
  for (const program of PROGRAMS) {
    const status = run(program, fd, isShared);
    if (status === 0 && isProved(program, fd, directory, isShared)) return;
    if (status === program.inUse) {
      throw new SessionsError({
        code: 'in-use',
        message:
          `another store is open in the directory \`${directory}\`. Run one process only, as in PM2's fork ` +
          "mode, or open each store with `access: 'shared'`, as for cluster mode; that is slower",
      });
    }
  }
  if (isShared) return;
  throw new SessionsError({
    code: 'no-lock',
    message:
      `the directory \`${directory}\` cannot be locked, and two processes that have a store open in it destroy it. ` +
      'Install `flock` (util-linux, or busybox) or `perl`, on a local file system; ' +
      "or open the store with `access: 'shared'`, which is slower",
  });
}

/** The exit status of a program; `undefined` if it could not be run or was killed. */
function run({ name, parameters }, fd, isShared) {
  const { status } = spawnSync(name, parameters(isShared).map(String), {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    timeout: TIME_OUT,
    windowsHide: true,
  });
  return status ?? undefined;
}

/**
 * Whether the directory is really locked, which the exit status does not prove. On Linux the
 * kernel lists the locks of an open file; elsewhere locking a second open file must fail.
 */
function isProved(program, fd, directory, isShared) {
  const kind = isShared ? 'READ' : 'WRITE';
  try {
    return new RegExp(`^lock:.*FLOCK +ADVISORY +${kind}`, 'm').test(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
  } catch {
    const second = fs.openSync(directory, 'r');
    try {
      return run(program, second, false) === program.inUse;
    } finally {
      fs.closeSync(second);
    }
  }
}

module.exports = { lock };
