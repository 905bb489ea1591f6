// The types of tests/vectors/README.md: JSON into values of the reader, and back. An unknown field is an error.

import { integerOf, isBinary } from '../msgpack.mjs';
import { building } from '../refusal.mjs';

class BadVector extends Error {}

const bad = (what, value) => {
    throw new BadVector(`not ${what}: ${JSON.stringify(value)}`);
};

export const hex = (value) =>
    typeof value === 'string' && /^(?:[0-9a-f]{2})*$/.test(value) ? Buffer.from(value, 'hex') : bad('hex', value);
export const text = (value) => (typeof value === 'string' ? value : bad('text', value));
export const bool = (value) => (typeof value === 'boolean' ? value : bad('a bool', value));

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

export const int = (value) => {
    if (Number.isSafeInteger(value)) return value;
    if (isObject(value) && typeof value.int === 'string' && /^-?[0-9]+$/.test(value.int)) return integerOf(value.int);
    return bad('an int', value);
};

/** An item of the encoding. */
export const item = (value) => {
    if (value === null || typeof value === 'string') return value;
    if (Array.isArray(value)) return value.map(item);
    return isObject(value) && 'bin' in value ? hex(value.bin) : int(value);
};

export const or =
    (...types) =>
    (value) => {
        for (const type of types) {
            try {
                return type(value);
            } catch (problem) {
                if (!(problem instanceof BadVector)) throw problem;
            }
        }
        return bad('any of these types', value);
    };
export const nullable = (type) => (value) => (value === null ? null : type(value));
export const list = (type) => (value) => (Array.isArray(value) ? value.map(type) : bad('a list', value));
export const tuple =
    (...types) =>
    (value) =>
        Array.isArray(value) && value.length === types.length
            ? types.map((type, index) => type(value[index]))
            : bad('a tuple', value);
export const map = (type) => (value) =>
    isObject(value) ? new Map(Object.entries(value).map(([key, one]) => [key, type(one)])) : bad('a map', value);

const OPTIONAL = Symbol('optional');
/** A field that may be absent; then it is undefined. */
export const maybe = (type) => Object.assign((value) => type(value), { [OPTIONAL]: true });

/** An object with exactly these fields. */
export const shape = (fields) => (value) => {
    if (!isObject(value)) bad('an object', value);
    const unknown = Object.keys(value).filter((key) => !(key in fields));
    if (unknown.length !== 0) bad(`a known field: ${unknown.join(', ')}`, Object.keys(value));
    return Object.fromEntries(
        Object.entries(fields).flatMap(([key, type]) => {
            if (key in value) return [[key, type(value[key])]];
            return type[OPTIONAL] ? [] : bad(`an object with ${key}`, Object.keys(value));
        }),
    );
};

/** An operation that writes what others read. */
export const writes = (fields, run) => [fields, (given) => building(() => run(given))];

/** A value of the reader as JSON. */
export const json = (value) => {
    if (isBinary(value)) return Buffer.from(value).toString('hex');
    if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isSafeInteger(value))) {
        return { int: value.toString() };
    }
    if (Array.isArray(value)) return value.map(json);
    if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, json(one)]));
    return value;
};

/** An item of the encoding as JSON. */
export const jsonItem = (value) => {
    if (isBinary(value)) return { bin: json(value) };
    return Array.isArray(value) ? value.map(jsonItem) : json(value);
};
