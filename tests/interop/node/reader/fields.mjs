// What may stand in a field. A field reads an item of the wire into a value, or a value into an item, and refuses everything
// else; a message is an array of named fields, so writing down its table is writing its reader.

import { MOST_INTEGER, decode, encode, encodeItem, isBinary, isInteger } from './msgpack.mjs';
import { malformed } from './refusal.mjs';

const plain = (what, test) => {
    const checked = (value) => (test(value) ? value : malformed(what));
    return { read: checked, write: checked };
};

export const integer = (low, high) =>
    plain(`an integer ${low}..${high}`, (value) => isInteger(value) && value >= low && value <= high);
export const constant = (number) => integer(number, number);
export const u16 = integer(0, 0xffff);
export const u32 = integer(0, 0xffffffff);
export const uint = integer(0, MOST_INTEGER);
export const binary = (low, high = low) =>
    plain(`a bin of ${low}..${high} bytes`, (value) => isBinary(value) && value.length >= low && value.length <= high);
export const text = (what, pattern) => plain(what, (value) => typeof value === 'string' && pattern.test(value));

/** `T | nil` of the pages. */
export const optional = (field) => ({
    read: (item) => (item === null ? null : field.read(item)),
    write: (value) => (value === null ? null : field.write(value)),
});

export const list = (field, low, high) => {
    const each = (turn) => (items) => {
        if (!Array.isArray(items) || items.length < low || items.length > high)
            malformed(`an array of ${low}..${high} items`);
        return items.map(turn);
    };
    return { read: each(field.read), write: each(field.write) };
};

/** An array whose items' encodings strictly increase byte by byte. */
export const set = (field, low, high) => {
    const inner = list(field, low, high);
    const ordered = (items) => {
        const encodings = items.map((item) => encodeItem(item));
        for (let index = 1; index < encodings.length; index += 1) {
            if (Buffer.compare(encodings[index - 1], encodings[index]) >= 0) malformed('a set that is not in order');
        }
        return items;
    };
    return {
        read: (items) => inner.read(Array.isArray(items) ? ordered(items) : items),
        write: (values) => ordered(inner.write(values)),
    };
};

/** Brings values into the order of a set, each once. */
export function sorted(values, field) {
    const known = new Map(values.map((value) => [encodeItem(field.write(value)).toString('hex'), value]));
    return [...known.keys()].sort().map((key) => known.get(key));
}

/** An array of exactly these fields, in this order: an object with their names. */
export const record = (fields) => {
    const entries = Object.entries(fields);
    return {
        read(items) {
            if (!Array.isArray(items) || items.length !== entries.length)
                malformed(`an array of ${entries.length} items`);
            return Object.fromEntries(entries.map(([key, field], index) => [key, field.read(items[index])]));
        },
        write: (value) => entries.map(([key, field]) => field.write(value[key])),
    };
};

/** A record that is a message or the inside of a box: bytes of its own, at most `limit`. */
export const message = (fields, limit = Infinity) => {
    const inner = record(fields);
    return {
        decode: (bytes) => inner.read(decode(bytes, limit)),
        encode(value) {
            const bytes = encode(inner.write(value));
            if (bytes.length > limit) malformed(`more than ${limit} bytes`);
            return bytes;
        },
    };
};

const MOST_ENTRIES = 8;

/** `crit`, `opt` or `ext`: a Map from id to value (encoding.md, "Room to grow"). */
export const extensions = (limit = 1024) => {
    const entries = list(record({ id: u16, value: binary(0, 0xffff) }), 0, MOST_ENTRIES);
    const bounded = (items) => {
        for (let index = 1; index < items.length; index += 1) {
            if (items[index - 1].id >= items[index].id) malformed('ids of extensions that do not increase');
        }
        if (encode(entries.write(items)).length > limit) malformed(`more than ${limit} bytes of extensions`);
        return items;
    };
    return {
        read: (items) => new Map(bounded(entries.read(items)).map(({ id, value }) => [id, value])),
        write: (map) => entries.write(bounded([...map].map(([id, value]) => ({ id, value })))),
    };
};
