'use strict';

// Converts MessagePack, the format of sessions in tower-sessions' stores, to JSON text, so that
// no digit of a number is lost.

/** The deepest nesting that is accepted, as in the contract. */
const DEEPEST = 128;

class Reader {
  #bytes;
  #at = 0;
  #depth = 0;

  constructor(bytes) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(length) {
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) throw new RangeError('cut off');
    return this.#bytes.subarray(start, this.#at);
  }

  unsigned(length) {
    return this.take(length).readUIntBE(0, length);
  }

  string(length) {
    return JSON.stringify(new TextDecoder('utf-8', { fatal: true }).decode(this.take(length)));
  }

  list(length, item, [open, close]) {
    this.#depth += 1;
    if (this.#depth > DEEPEST) throw new RangeError('nested too deep');
    const items = [];
    for (let count = 0; count < length; count += 1) items.push(item());
    this.#depth -= 1;
    return open + items.join() + close;
  }

  array(length) {
    return this.list(length, () => this.value(), '[]');
  }

  map(length) {
    const member = () => {
      const name = this.value();
      if (name[0] !== '"') throw new TypeError('a name that is not text');
      return `${name}:${this.value()}`;
    };
    return this.list(length, member, '{}');
  }

  number(number) {
    if (!Number.isFinite(number)) throw new RangeError('a number that JSON does not have');
    return JSON.stringify(number);
  }

  /** The number of items of an array; fails for anything else. */
  arrayLength() {
    const kind = this.unsigned(1);
    if (kind >> 4 === 9) return kind & 0xf;
    if (kind === 0xdc) return this.unsigned(2);
    throw new TypeError('not an array');
  }

  /** The next value as JSON; bytes are an array of numbers. */
  value() {
    const kind = this.unsigned(1);
    if (kind < 0x80) return String(kind);
    if (kind < 0x90) return this.map(kind & 0xf);
    if (kind < 0xa0) return this.array(kind & 0xf);
    if (kind < 0xc0) return this.string(kind & 0x1f);
    if (kind >= 0xe0) return String(kind - 0x100);
    switch (kind) {
      case 0xc0:
        return 'null';
      case 0xc2:
        return 'false';
      case 0xc3:
        return 'true';
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return `[${[...this.take(this.unsigned(1 << (kind - 0xc4)))].join()}]`;
      case 0xca:
        return this.number(this.take(4).readFloatBE());
      case 0xcb:
        return this.number(this.take(8).readDoubleBE());
      case 0xcc:
      case 0xcd:
      case 0xce:
        return String(this.unsigned(1 << (kind - 0xcc)));
      case 0xcf:
        return String(this.take(8).readBigUInt64BE());
      case 0xd0:
      case 0xd1:
      case 0xd2:
        return String(this.take(1 << (kind - 0xd0)).readIntBE(0, 1 << (kind - 0xd0)));
      case 0xd3:
        return String(this.take(8).readBigInt64BE());
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.string(this.unsigned(1 << (kind - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.array(this.unsigned(kind === 0xdc ? 2 : 4));
      case 0xde:
      case 0xdf:
        return this.map(this.unsigned(kind === 0xde ? 2 : 4));
      default:
        throw new TypeError('an unsupported type');
    }
  }
}

/** The data of a record of tower-sessions, `[id, data, expiry]`, as JSON text. */
function recordData(bytes) {
  const reader = new Reader(bytes);
  if (reader.arrayLength() !== 3) throw new TypeError('not a record');
  reader.value();
  return reader.value();
}

module.exports = { recordData };
