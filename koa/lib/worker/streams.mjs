// WASI's streams: over files, which never block, and over the component's log.

/** The most bytes of one write to a stream. */
const ROOM = 65536n;

/** The most characters of the log that are kept for an error message. */
const LOG = 2000;

/**
 * A pollable that is ready at a time of the monotonic clock. The component blocks on it to
 * sleep while another owner holds a shared database.
 */
export class Pollable {
  constructor(until) {
    this.until = until;
  }

  block() {
    const milliseconds = Number(this.until - process.hrtime.bigint()) / 1e6;
    if (milliseconds > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  }
}

/** Reads a file from a position on. */
export class FileInput {
  constructor(file, offset) {
    this.file = file;
    this.offset = offset;
  }

  blockingRead(length) {
    const [bytes] = streamed(() => this.file.read(length, this.offset));
    if (bytes.length === 0 && length > 0) throw { tag: 'closed' };
    this.offset += bytes.length;
    return bytes;
  }

  subscribe() {
    return new Pollable(0n);
  }
}

/** Writes a file from a position on. */
export class FileOutput {
  constructor(file, offset) {
    this.file = file;
    this.offset = offset;
  }

  checkWrite() {
    return ROOM;
  }

  write(bytes) {
    for (let done = 0; done < bytes.length; ) {
      const written = Number(streamed(() => this.file.write(bytes.subarray(done), this.offset)));
      this.offset += written;
      done += written;
    }
  }

  blockingFlush() {}

  subscribe() {
    return new Pollable(0n);
  }
}

/** A failed operation of a stream: `wasi:io/error.error`. */
export class StreamError {}

function streamed(operation) {
  try {
    return operation();
  } catch {
    throw { tag: 'last-operation-failed', val: new StreamError() };
  }
}

/** Keeps the end of what the component writes to standard error, such as the message of a panic. */
export class Log {
  text = '';

  checkWrite() {
    return ROOM;
  }

  write(bytes) {
    this.text = (this.text + Buffer.from(bytes).toString()).slice(-LOG);
  }

  blockingFlush() {}

  subscribe() {
    return new Pollable(0n);
  }
}

