// The field of caveats, and the chain of keys that hangs off a ticket (attenuation.md).

import { binary, list } from './fields.mjs';
import { derive, digest } from './keys.mjs';
import { decode, encode } from './msgpack.mjs';
import { malformed } from './refusal.mjs';

const MOST_CAVEATS = 16;
export const MOST_CAVEAT = 512;
/** More than any field of sixteen caveats takes: three bytes before each, three before all. */
export const MOST_FIELD = MOST_CAVEATS * (MOST_CAVEAT + 3) + 3;

const caveats = list(binary(1, MOST_CAVEAT), 1, MOST_CAVEATS);

/** The caveats of a field, as bytes: none for an empty field. */
export function readCaveats(bytes) {
    return bytes.length === 0 ? [] : caveats.read(decode(bytes, MOST_FIELD));
}

/** A field with these caveats. */
export function writeCaveats(items) {
    return items.length === 0 ? Buffer.alloc(0) : encode(caveats.write(items));
}

/** Sealed and shown caveats together have a limit of their own. */
export function checkCount(...lists) {
    const count = lists.reduce((sum, each) => sum + each.length, 0);
    if (count > MOST_CAVEATS) malformed(`${count} caveats`);
}

export const firstTail = (sessionKey, ticket) => derive(sessionKey, 'chain0', digest(ticket));
export const nextTail = (tail, caveat) => derive(tail, 'cav', caveat);

/** T(0), T(1), ...: one more than there are caveats shown. */
export function tails(sessionKey, ticket, shown) {
    return walk(firstTail(sessionKey, ticket), shown);
}

/** `tail` and every one behind it. */
export function walk(tail, shown) {
    return shown.reduce((known, caveat) => [...known, nextTail(known.at(-1), caveat)], [tail]);
}

/** K_pop behind a tail. */
export const popKey = (tail) => derive(tail, 'pop');

/** K_pop with the tails of discharges mixed in, in order. */
export const mix = (pop, dischargeTails) => dischargeTails.reduce((key, tail) => derive(key, 'mix', tail), pop);
