/// <reference types="node" />

import type { EventEmitter } from 'node:events';

/** Options of {@link open}. Times are milliseconds. */
export interface Options {
  /** The directory of the database; created, readable only by this user, when it is missing. */
  directory: string;
  /** The name of the database's file in the directory. Default `sessions.db`. */
  file?: string;
  /** Bytes that the read cache may take; 0 for none. Default 32 MiB. */
  readCache?: number;
  /**
   * `exclusive`, the default: only this process has a store open in the directory. `shared`:
   * others may, too; much slower, and without a read cache.
   */
  access?: 'exclusive' | 'shared';
  /** `full`, the default: every answered write survives a loss of power. `relaxed`: the last writes may be lost. */
  durability?: 'full' | 'relaxed';
  /** Encrypts the sessions in the database: 32 random bytes in base64. Default none. */
  key?: string | null;
  /**
   * The key of the sessions that are not yet encrypted with `key`, or `none` if they are not
   * encrypted. Not needed once {@link Store.collect} has returned `more: false`. Default none.
   */
  previousKey?: string | null;

  /** Table of the sessions. Default `Sessions`. */
  tableName?: string;
  /** Name of the store in errors and statistics. Default `Session`. */
  modelName?: string;
  /** Create or migrate the table. Default true. */
  sync?: boolean;
  /** How long to wait for a database that another owner holds. Default 3000. */
  syncTimeout?: number;
  /** Requests after which expired sessions are collected; 0 or less for never. Default 10000. */
  gcFrequency?: number;
  /** Accepted and ignored: every session has `created` and `updated`. */
  timestamps?: boolean;
  /** The life of a session that is written without one. Default a day. */
  browserSessionLifetime?: number;

  /** The longest life of a session, however often it is renewed. Default none. */
  absoluteLifetime?: number | null;
  /** A touch that would postpone the expiry by less than this writes nothing. Default 1000. */
  renewalStep?: number;
  /** How long writes under an ended id are refused. Default 60000. */
  tombstone?: number;
  /** Longest session as JSON, in bytes. Default 1 MiB. */
  maxData?: number;
  /** Most sessions of one subject; beyond it the oldest are ended. Default none. */
  maxPerSubject?: number | null;
  /** Most rows that one request removes during a collection. Default 100. */
  gcStep?: number;
}

/**
 * Opens a store.
 *
 * Fails with `in-use` when another process has a store open in the directory, or an instance with
 * shared access uses the database for longer than `syncTimeout`; with `no-lock` when other processes
 * cannot be excluded.
 */
export function open(options: Options): Promise<Store>;

/**
 * The life of a session from now. A number above 0, or its digits: that many milliseconds, at
 * least 1. `Infinity`: as long as `absoluteLifetime` allows. Negative: the session ends
 * immediately. 0, `'session'`, `NaN` and everything else: not given. Then the life is
 * `cookie.maxAge` of the session if that is a number of 1 or more, else `cookie.expires` if that
 * is a date, else the option `browserSessionLifetime`. `touch` and `merge` ignore `cookie.expires`.
 */
export type TimeToLive = number | string | null | undefined;

/** A session with its version and times. Times are milliseconds since the epoch. */
export interface Session<Data = any> {
  data: Data;
  /** The user that the session is bound to, see {@link Store.rotate}. */
  subject?: string;
  /** 1 when created, one more at each write. */
  version: number;
  created: number;
  updated: number;
  /** The first moment at which the session is no longer there. */
  expires: number;
}

/** A session in a listing. Its `handle` identifies it there; it is not the id. */
export interface Entry extends Omit<Session, 'data'> {
  handle: string;
  /** Bytes of its JSON. */
  size: number;
}

/** A session under its new id. */
export interface Created {
  id: string;
  version: number;
  expires: number;
}

/** The session was written. */
export interface Written {
  outcome: 'written';
  version: number;
  updated: number;
  expires: number;
}

/** Nothing was written: the session is missing, has expired or was ended. */
export interface Gone {
  outcome: 'gone';
}

/** Nothing was written: the session has another version. */
export interface Stale<Data = any> {
  outcome: 'stale';
  session: Session<Data>;
}

/** The state of a store. */
export interface Statistics {
  name: string;
  engine: string;
  live: number;
  /** Rows that wait for collection. */
  expired: number;
  /** Bytes of the database. */
  size: number;
  /** Rows collected since the store was opened. */
  collected: number;
}

export type Verb = 'get' | 'set' | 'update' | 'merge' | 'touch' | 'rotate' | 'destroy' | 'create';

/** An open store. A function that fails rejects with a {@link SessionsError}. */
export interface Store extends EventEmitter {
  /** The session; null when it is missing or has expired. */
  get(sid: string, maxAge?: unknown, options?: unknown): Promise<any>;
  /**
   * Writes the session, whether or not it exists: a {@link Written}, or {@link Gone} when it was
   * ended less than `tombstone` ago. A failure need not be handled: it does not end the process.
   */
  set(sid: string, session: unknown, ttl?: TimeToLive, options?: unknown): Promise<any>;
  /** Ends the session; false when it does not exist. A failure need not be handled. */
  destroy(sid: string, options?: unknown): Promise<any>;

  /** The store for koa-session-minimal: failures of `set` and `destroy` are only emitted. */
  readonly minimal: {
    get(sid: string): Promise<any>;
    set(sid: string, session: unknown, ttl?: TimeToLive): Promise<Written | Gone | undefined>;
    destroy(sid: string): Promise<boolean | undefined>;
  };
  /** A store for express-session. The argument is the module `express-session`. */
  express<ExpressStore>(session: { Store: abstract new (...parameters: any[]) => ExpressStore }): ExpressStore;

  /** The session with its version and times, from the database. */
  read<Data = any>(sid: string): Promise<Session<Data> | null>;
  /** Creates a session under a new id of 256 random bits. */
  create(session: unknown, options?: { ttl?: TimeToLive; subject?: string }): Promise<Created>;
  /** Writes a session if it exists and has that version; with version 0, creates it if it does not exist. */
  update<Data = any>(
    sid: string,
    session: Data,
    options?: { ttl?: TimeToLive; version?: number },
  ): Promise<Written | Stale<Data> | Gone>;
  /** Applies a JSON merge patch (RFC 7396). */
  merge<Data = any>(sid: string, patch: unknown, options?: { ttl?: TimeToLive }): Promise<Session<Data> | null>;
  /** Renews a session without writing its payload; returns its expiry. A failure need not be handled. */
  touch(sid: string, ttl?: TimeToLive): Promise<number | null>;
  /** Moves a session to a new id and, if there is a subject, binds it to that user, as at log-in. */
  rotate(sid: string, options?: { subject?: string }): Promise<Created | null>;

  /** A page of a list of sessions, one user's or all; `limit` is 1 to 1000, by default 100. */
  listSessions(options?: {
    subject?: string;
    cursor?: string;
    limit?: number;
  }): Promise<{ sessions: Entry[]; next?: string }>;
  countSessions(options?: { subject?: string }): Promise<number>;
  /** The session with this handle, payload included. */
  inspect<Data = any>(handle: string): Promise<Session<Data> | null>;
  /** Ends the session with this handle; false when it does not exist. */
  terminate(handle: string): Promise<boolean>;
  /** Ends all sessions of a user except the one with the id `except`; returns how many. */
  terminateSubject(subject: string, options?: { except?: string }): Promise<number>;
  /** Ends all sessions; returns how many. */
  clear(): Promise<number>;

  /** Removes at most `limit` expired rows, by default 1000. Call it until `more` is false. */
  collect(options?: { limit?: number }): Promise<{ removed: number; more: boolean }>;
  stats(): Promise<Statistics>;
  /** Reads the whole database; describes what is damaged. */
  check(): Promise<string[]>;
  /** Writes a copy of the database to a path that does not exist. */
  backup(target: string): Promise<void>;
  /** Completes the waiting requests, closes the database and unlocks the directory. */
  close(): Promise<void>;

  /** The store is ready. */
  on(event: 'connect', listener: () => void): this;
  /** A function of this name failed, whether or not its promise is handled. */
  on(event: 'failure', listener: (error: SessionsError, verb: Verb) => void): this;
  on(event: string | symbol, listener: (...parameters: any[]) => void): this;
}

/** Why an operation failed. Carries no id and no payload. */
export class SessionsError extends Error {
  private constructor();
  readonly code:
    | 'busy'
    | 'closed'
    | 'corrupt'
    | 'crashed'
    | 'directory'
    | 'in-use'
    | 'invalid-argument'
    | 'lock-lost'
    | 'missing-table'
    | 'no-lock'
    | 'no-sync'
    | 'other'
    | 'replaced'
    | 'storage-full'
    | 'too-large';
  /** With `too-large`: the longest session that is accepted, in bytes. */
  readonly limit?: number;
}
