/// <reference types="node" />

import type { EventEmitter } from 'node:events';

/** Options of {@link open}. Times are milliseconds. */
export interface Options {
  /** The directory of the database; made, for this user alone, when it is missing. */
  directory: string;
  /** The database's file in it. Default `sessions.db`. */
  file?: string;
  /** Bytes that the read cache may take; 0 for none. Default 32 MiB. */
  readCache?: number;
  /**
   * `exclusive`, the default: this process is the only one that has a store open in the
   * directory. `shared`: others may too; much slower, and without a read cache.
   */
  access?: 'exclusive' | 'shared';
  /** `full`, the default: what was answered survives a loss of power. `relaxed`: perhaps not the last writes. */
  durability?: 'full' | 'relaxed';
  /** Encrypts the sessions in the database: 32 random bytes in base64. Default none. */
  key?: string | null;
  /**
   * What encrypted the sessions that `key` has not encrypted yet: the key before, or `none`.
   * Not needed after {@link Store.collect} has answered that there is no more. Default none.
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
  /** Requests after which garbage is collected; 0 or less for never. Default 10000. */
  gcFrequency?: number;
  /** Accepted and ignored: every session has `created` and `updated`. */
  timestamps?: boolean;
  /** How long a session lives that was given no life. Default a day. */
  browserSessionLifetime?: number;

  /** How long any session lives at most, however often it is renewed. Default none. */
  absoluteLifetime?: number | null;
  /** A touch that would gain less writes nothing. Default 1000. */
  renewalStep?: number;
  /** How long an ended id is refused to late writers. Default 60000. */
  tombstone?: number;
  /** Longest session as JSON, in bytes. Default 1 MiB. */
  maxData?: number;
  /** Sessions that one subject may have; the oldest end first. Default none. */
  maxPerSubject?: number | null;
  /** Rows that one request may remove while garbage is collected. Default 100. */
  gcStep?: number;
}

/**
 * Opens a store.
 *
 * Fails with `in-use` when another process has one open in the directory, with `no-lock`
 * when there is no means of excluding others.
 */
export function open(options: Options): Promise<Store>;

/**
 * How long a session lives from now. A number above 0, or its digits: so many milliseconds,
 * at least 1. `Infinity`: as long as `absoluteLifetime` allows. Negative: it ends at once. 0,
 * `'session'`, `NaN` and everything else: none given. Then `cookie.maxAge` of the session
 * counts if it is a number of 1 or more, else `cookie.expires` if it is a date, else the option
 * `browserSessionLifetime`. For `touch` and `merge`, `cookie.expires` does not count.
 */
export type TimeToLive = number | string | null | undefined;

/** A session with what the store knows about it. Times are milliseconds since the epoch. */
export interface Session<Data = any> {
  data: Data;
  /** The user it is bound to, see {@link Store.rotate}. */
  subject?: string;
  /** 1 when started, one more at each write. */
  version: number;
  created: number;
  updated: number;
  /** The first moment at which it is no longer there. */
  expires: number;
}

/** A session in a listing. Its `handle` names it, and is not its id. */
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

/** What a write made of the session. */
export interface Written {
  outcome: 'written';
  version: number;
  updated: number;
  expires: number;
}

/** Nothing was written: the session is missing, or has been ended. */
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

/** An open store. Each function rejects with a {@link SessionsError}. */
export interface Store extends EventEmitter {
  /** The session; null when it is missing or has expired. */
  get(sid: string, maxAge?: unknown, options?: unknown): Promise<any>;
  /**
   * Writes the session, whether or not it is there: a {@link Written}, or {@link Gone} when it was ended less than
   * `tombstone` ago. A failure need not be handled: it does not end the process.
   */
  set(sid: string, session: unknown, ttl?: TimeToLive, options?: unknown): Promise<any>;
  /** Ends the session; false when it was not there. A failure need not be handled. */
  destroy(sid: string, options?: unknown): Promise<any>;

  /** The store for koa-session-minimal: failures of `set` and `destroy` are only emitted. */
  readonly minimal: {
    get(sid: string): Promise<any>;
    set(sid: string, session: unknown, ttl?: TimeToLive): Promise<Written | Gone | undefined>;
    destroy(sid: string): Promise<boolean | undefined>;
  };
  /** The store for express-session, of which the argument is the module. */
  express<ExpressStore>(session: { Store: abstract new (...parameters: any[]) => ExpressStore }): ExpressStore;

  /** The session with its version and times, from the database. */
  read<Data = any>(sid: string): Promise<Session<Data> | null>;
  /** Starts a session under an id made here: 256 random bits. */
  create(session: unknown, options?: { ttl?: TimeToLive; subject?: string }): Promise<Created>;
  /** Writes a session that is there and has that version; with version 0, one that is not there. */
  update<Data = any>(
    sid: string,
    session: Data,
    options?: { ttl?: TimeToLive; version?: number },
  ): Promise<Written | Stale<Data> | Gone>;
  /** Applies a JSON merge patch (RFC 7396). */
  merge<Data = any>(sid: string, patch: unknown, options?: { ttl?: TimeToLive }): Promise<Session<Data> | null>;
  /** Renews a session without writing it; its new expiry. A failure need not be handled. */
  touch(sid: string, ttl?: TimeToLive): Promise<number | null>;
  /** Moves a session to a new id made here and binds it to a user: what to do at log-in. */
  rotate(sid: string, options?: { subject?: string }): Promise<Created | null>;

  /** A page of the sessions, of one user or all; `limit` is 1 to 1000, by default 100. */
  listSessions(options?: {
    subject?: string;
    cursor?: string;
    limit?: number;
  }): Promise<{ sessions: Entry[]; next?: string }>;
  countSessions(options?: { subject?: string }): Promise<number>;
  /** The session that a listing names. */
  inspect<Data = any>(handle: string): Promise<Session<Data> | null>;
  /** Ends the session that a listing names. */
  terminate(handle: string): Promise<boolean>;
  /** Ends all sessions of a user, but for the id `except`; how many. */
  terminateSubject(subject: string, options?: { except?: string }): Promise<number>;
  /** Ends all sessions; how many. */
  clear(): Promise<number>;

  /** Removes at most `limit` rows that have expired, by default 1000. */
  collect(options?: { limit?: number }): Promise<{ removed: number; more: boolean }>;
  stats(): Promise<Statistics>;
  /** Reads the whole database; what is damaged in it. */
  check(): Promise<string[]>;
  /** Writes a copy of the database to a path at which nothing is. */
  backup(target: string): Promise<void>;
  /** Does what waits, closes the database and unlocks the directory. */
  close(): Promise<void>;

  /** The store can be used. */
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
    | 'missing-table'
    | 'no-lock'
    | 'no-sync'
    | 'other'
    | 'replaced'
    | 'storage-full'
    | 'too-large';
  /** With `too-large`: the longest that is accepted, in bytes. */
  readonly limit?: number;
}
