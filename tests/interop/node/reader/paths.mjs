// Which paths everybody reads in the same way, and which lie below a prefix (caveats.md, "Paths").

import { malformed } from './refusal.mjs';

const MOST_PATH = 8192;
const MOST_PREFIX = 480;
const CHARACTERS = /^(?:\/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+$/;
const ESCAPES = /%(.{0,2})/g;
const FORBIDDEN = new Set([...'#%./;?\\'].map((letter) => letter.charCodeAt(0)));

function checkEscapes(path) {
    for (const [, digits] of path.matchAll(ESCAPES)) {
        if (!/^[0-9A-Fa-f]{2}$/.test(digits)) malformed('an escape without two hexadecimal digits');
        const byte = Number.parseInt(digits, 16);
        if (byte < 0x20 || byte === 0x7f || FORBIDDEN.has(byte)) malformed('an escape that is read in two ways');
    }
}

function decoded(path) {
    try {
        return decodeURIComponent(path);
    } catch {
        return malformed('not UTF-8');
    }
}

/** Refuses a path that two readers could understand differently. */
export function checkPath(path) {
    if (path.length > MOST_PATH || !CHARACTERS.test(path)) malformed('not a path');
    checkEscapes(path);
    const segments = decoded(path).split('/').slice(1);
    segments.forEach((segment, index) => {
        if (segment === '' && index === segments.length - 1) return;
        if (/^[. ]*$/.test(segment.split(';', 1)[0])) malformed('a segment of nothing, or of dots and spaces');
    });
    return path;
}

/** Refuses what cannot be the prefix of a path caveat. */
export function checkPrefix(prefix) {
    if (prefix.length > MOST_PREFIX) malformed('a prefix that is too long');
    return checkPath(prefix);
}

const segmentsOf = (path) => path.split('/').slice(1);

/** Whether a path caveat holds: the segments of the prefix are the first ones of the path, as written. */
export function isBelow(path, prefix) {
    const wanted = segmentsOf(prefix);
    if (wanted.at(-1) === '') wanted.pop();
    const given = segmentsOf(path);
    return wanted.every((segment, index) => given[index] === segment);
}
