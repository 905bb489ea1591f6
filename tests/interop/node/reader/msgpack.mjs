// Canonical msgpack (encoding.md): nil, integers, bins, ASCII strs and arrays, each in its one shortest form.
//
// The reader knows only the forms that the page lists. There is nothing to switch off: a float, a map, a boolean or an
// extension is a byte that no branch knows. Integers are Numbers where JavaScript can hold them exactly, and BigInts beyond;
// as every value has one encoding, it has one JavaScript value as well, so `===` compares what was on the wire.

import { Refusal, malformed } from './refusal.mjs';

const MOST_ITEMS = 64;
const MOST_DEPTH = 6;
export const MOST_INTEGER = 2n ** 63n - 1n;

const exact = (value) => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value);

/** Whether `value` is an integer that the wire can carry: 0..2^63-1. */
export function isInteger(value) {
    if (typeof value === 'bigint') return value >= 0n && value <= MOST_INTEGER;
    return Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}

/** The JavaScript value of an integer, from any form of it. */
export function integerOf(value) {
    return exact(BigInt(value));
}

export const isBinary = (value) => value instanceof Uint8Array;

class Reader {
    constructor(bytes) {
        this.bytes = bytes;
        this.at = 0;
    }

    take(size) {
        if (size > this.bytes.length - this.at) malformed('cut short');
        this.at += size;
        return this.bytes.subarray(this.at - size, this.at);
    }

    // A number of `size` bytes, which would not fit in a shorter form: the shortest is the only one.
    number(size, least) {
        let value = 0n;
        for (const byte of this.take(size)) value = (value << 8n) | BigInt(byte);
        if (value < BigInt(least)) malformed('a long form of a number');
        return value;
    }

    length(size, least) {
        return Number(this.number(size, least));
    }

    integer(size, least) {
        const value = this.number(size, least);
        if (value > MOST_INTEGER) malformed('an integer above 2^63-1');
        return exact(value);
    }

    binary(size) {
        return Buffer.from(this.take(size));
    }

    text(size) {
        if (size === 0) malformed('an empty str');
        const bytes = this.take(size);
        if (bytes.some((byte) => byte > 0x7f)) malformed('a str that is not ASCII');
        return Buffer.from(bytes).toString('latin1');
    }

    array(count, depth) {
        if (count > MOST_ITEMS) malformed(`more than ${MOST_ITEMS} items`);
        if (depth > MOST_DEPTH) malformed(`more than ${MOST_DEPTH} arrays deep`);
        const items = [];
        for (let index = 0; index < count; index += 1) items.push(this.item(depth));
        return items;
    }

    item(depth) {
        const [byte] = this.take(1);
        if (byte <= 0x7f) return byte;
        if (byte >= 0x90 && byte <= 0x9f) return this.array(byte & 0x0f, depth + 1);
        if (byte >= 0xa0 && byte <= 0xbf) return this.text(byte & 0x1f);
        const form = FORMS.get(byte);
        if (form === undefined) malformed(`byte 0x${byte.toString(16)} begins no item`);
        return form(this, depth);
    }
}

const FORMS = new Map([
    [0xc0, () => null],
    [0xc4, (reader) => reader.binary(reader.length(1, 0))],
    [0xc5, (reader) => reader.binary(reader.length(2, 0x100))],
    [0xc6, (reader) => reader.binary(reader.length(4, 0x10000))],
    [0xcc, (reader) => reader.integer(1, 0x80)],
    [0xcd, (reader) => reader.integer(2, 0x100)],
    [0xce, (reader) => reader.integer(4, 0x10000)],
    [0xcf, (reader) => reader.integer(8, 0x100000000)],
    [0xd9, (reader) => reader.text(reader.length(1, 32))],
    [0xda, (reader) => reader.text(reader.length(2, 0x100))],
    [0xdc, (reader, depth) => reader.array(reader.length(2, 16), depth + 1)],
]);

/** The items of one canonical array of at most `limit` bytes, which is all that there is. */
export function decode(bytes, limit) {
    if (bytes.length > limit) throw new Refusal('size', 'malformed', `more than ${limit} bytes`);
    const reader = new Reader(bytes);
    const items = reader.item(0);
    if (!Array.isArray(items)) malformed('not an array');
    if (reader.at !== bytes.length) malformed('bytes behind the array');
    // Nothing above lets another form through. The page asks for the comparison, and it costs little.
    if (!encode(items).equals(bytes)) malformed('not canonical');
    return items;
}

const be = (size, value) => {
    const bytes = Buffer.alloc(size);
    let rest = BigInt(value);
    for (let index = size - 1; index >= 0; index -= 1) {
        bytes[index] = Number(rest & 0xffn);
        rest >>= 8n;
    }
    return bytes;
};

// The first of these heads in which `value` fits.
const head = (value, ...forms) => {
    const form = forms.find(([, most]) => value <= most) ?? malformed('too long');
    const [lead, , size] = form;
    return size === 0 ? Buffer.of(lead | Number(value)) : Buffer.concat([Buffer.of(lead), be(size, value)]);
};

const encodeInteger = (value) =>
    head(value, [0x00, 0x7f, 0], [0xcc, 0xff, 1], [0xcd, 0xffff, 2], [0xce, 0xffffffff, 4], [0xcf, MOST_INTEGER, 8]);

function encodeText(value) {
    if (!/^[\x00-\x7f]+$/.test(value)) malformed('a str is ASCII, at least one byte');
    return Buffer.concat([
        head(value.length, [0xa0, 31, 0], [0xd9, 0xff, 1], [0xda, 0xffff, 2]),
        Buffer.from(value, 'latin1'),
    ]);
}

const encodeBinary = (value) =>
    Buffer.concat([head(value.length, [0xc4, 0xff, 1], [0xc5, 0xffff, 2], [0xc6, 0xffffffff, 4]), value]);

function encodeArray(items, depth) {
    if (items.length > MOST_ITEMS) malformed(`more than ${MOST_ITEMS} items`);
    if (depth > MOST_DEPTH) malformed(`more than ${MOST_DEPTH} arrays deep`);
    return Buffer.concat([
        head(items.length, [0x90, 15, 0], [0xdc, 0xffff, 2]),
        ...items.map((item) => encodeItem(item, depth)),
    ]);
}

/** The one encoding of an item. */
export function encodeItem(item, depth = 0) {
    if (item === null) return Buffer.of(0xc0);
    if (isInteger(item)) return encodeInteger(item);
    if (typeof item === 'string') return encodeText(item);
    if (isBinary(item)) return encodeBinary(item);
    if (Array.isArray(item)) return encodeArray(item, depth + 1);
    return malformed(`${typeof item} has no encoding`);
}

/** `enc(items...)` of the pages: the canonical array of these items. */
export function encode(items) {
    return encodeItem(items, 0);
}
