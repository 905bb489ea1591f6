// Canonical JSON (jwt.md, "Claims"): sorted members, no white space, ASCII only, integers only. A value has one form.

import { malformed } from './refusal.mjs';

const SHORT = new Map([
    ['"', '\\"'],
    ['\\', '\\\\'],
    ['\b', '\\b'],
    ['\f', '\\f'],
    ['\n', '\\n'],
    ['\r', '\\r'],
    ['\t', '\\t'],
]);

const unit = (index, text) => `\\u${text.charCodeAt(index).toString(16).padStart(4, '0')}`;

// JavaScript's strings are made of the very units that a surrogate pair is written with.
function writeText(text) {
    const letters = Array.from({ length: text.length }, (_, index) => {
        const letter = text[index];
        return SHORT.get(letter) ?? (letter >= ' ' && letter <= '~' ? letter : unit(index, text));
    });
    return `"${letters.join('')}"`;
}

const codePoints = (text) => Array.from(text, (letter) => letter.codePointAt(0));

// By code point: the order of JavaScript's own comparison is another one beyond U+FFFF.
function compare(one, other) {
    const [left, right] = [codePoints(one), codePoints(other)];
    const index = left.findIndex((point, at) => point !== right[at]);
    return index === -1 ? left.length - right.length : left[index] - (right[index] ?? -1);
}

// A number that has one decimal form: 2^53 + 1 would be read as its neighbour, and then not be written as it was received.
const isExact = (value) => Number.isInteger(value) && Math.abs(value) <= 2 ** 53 && !Object.is(value, -0);

/** The one form of a value. */
export function writeJson(value) {
    if (value === null || typeof value === 'boolean') return String(value);
    if (typeof value === 'string') return writeText(value);
    if (typeof value === 'bigint') return value.toString();
    if (typeof value === 'number') return isExact(value) ? String(value) : malformed('not an integer');
    if (Array.isArray(value)) return `[${value.map(writeJson).join(',')}]`;
    const members = Object.keys(value).sort(compare);
    return `{${members.map((key) => `${writeText(key)}:${writeJson(value[key])}`).join(',')}}`;
}

/** The value of canonical JSON, as it was received. */
export function readJson(bytes) {
    const text = bytes.toString('latin1');
    let value;
    try {
        value = JSON.parse(text);
    } catch {
        return malformed('not JSON');
    }
    return writeJson(value) === text ? value : malformed('not canonical JSON');
}
