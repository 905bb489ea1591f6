// Fields of HTTP: names, authority, lengths and digests, each in its one form (http.md).

import { digest } from './keys.mjs';
import { malformed } from './refusal.mjs';

export const MOST_COVERED = 16;
export const MOST_VALUE = 8192;

const TOKEN = "!#$%&'*+.^_`|~0-9a-z-";
const FIELD_NAME = new RegExp(`^[${TOKEN}]{1,64}$`);
const METHOD = new RegExp(`^[${TOKEN}A-Z]{1,32}$`);
const HOST = String.raw`(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])`;
const PORT = '[1-9][0-9]{0,4}';
const DEFAULT_PORTS = new Map([
    ['http', 80],
    ['https', 443],
]);

/** Names of covered fields: lower-case tokens, each once. */
export function checkCovered(names) {
    if (names.length > MOST_COVERED || new Set(names).size !== names.length) malformed('covered names, each once');
    if (!names.every((name) => FIELD_NAME.test(name))) malformed('a covered name is a lower-case token');
    return names;
}

export const checkMethod = (method) => (METHOD.test(method) ? method : malformed('a method is a token'));
export const checkScheme = (scheme) => (DEFAULT_PORTS.has(scheme) ? scheme : malformed('http or https'));

/** The canonical authority of a `Host`. The pattern comes before `toLowerCase`, which turns some other letters into ASCII. */
export function canonicalAuthority(text, scheme) {
    checkScheme(scheme);
    const match = text.match(new RegExp(`^(${HOST})(?::(${PORT}))?$`));
    if (match === null) malformed('not host or host:port');
    const [, host, port = DEFAULT_PORTS.get(scheme)] = match;
    if (Number(port) > 65_535) malformed('not a port');
    return `${host.toLowerCase()}:${port}`;
}

export function checkAuthority(text, scheme) {
    if (canonicalAuthority(text, scheme) !== text) malformed('not a canonical authority');
    return text;
}

/** Bytes of base64 in its one spelling: `encoding` is base64 or base64url, as Node writes it. */
export function fromBase64(text, encoding) {
    const bytes = Buffer.from(text, encoding);
    if (bytes.toString(encoding) !== text) malformed(`not ${encoding} in its one form`);
    return bytes;
}

/** The SHA-256 that a `Content-Digest` names. */
export function readContentDigest(value) {
    const match = value.match(/^sha-256=:([A-Za-z0-9+/]{43}=):$/);
    if (match === null) malformed('not sha-256=:BASE64:');
    return fromBase64(match[1], 'base64');
}

export function writeContentDigest(sha256) {
    if (sha256.length !== 32) malformed('not a SHA-256');
    return `sha-256=:${sha256.toString('base64')}:`;
}
export const contentDigest = (content) => writeContentDigest(digest(content));

/** A `Content-Length`: a Number, or a BigInt where a Number would round. */
export function readContentLength(value) {
    if (!/^(?:0|[1-9][0-9]{0,17})$/.test(value)) malformed('not a length');
    const length = BigInt(value);
    return length <= Number.MAX_SAFE_INTEGER ? Number(length) : length;
}

// As servers of the CGI family read a name.
const spelling = (name) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');

/** The fields of a message, `[name, value]` with lower-case names and values as Buffers. */
export class Fields {
    constructor(pairs) {
        this.pairs = pairs;
    }

    values(name) {
        return this.pairs.filter(([own]) => own === name).map(([, value]) => value);
    }

    /** Whether there is a field of this name or of one that some reader would take for it. */
    inAnySpelling(name) {
        return this.pairs.some(([own]) => spelling(own) === spelling(name));
    }

    inAnotherSpelling(name) {
        return this.pairs.some(([own]) => own !== name && spelling(own) === spelling(name));
    }

    /** The one value of a field that may be absent, and is in no other spelling. */
    atMostOnce(name) {
        if (this.inAnotherSpelling(name)) malformed(`${name} in another spelling`);
        const found = this.values(name);
        if (found.length > 1) malformed(`${name} more than once`);
        return found[0] ?? null;
    }

    exactlyOnce(name) {
        return this.atMostOnce(name) ?? malformed(`no ${name}`);
    }
}

const ABOUT_BODY = ['content-length', 'transfer-encoding', 'content-digest'];

/** Refuses fields that say something about the body under a name that only some readers know. */
export function checkAboutBody(fields) {
    for (const name of ABOUT_BODY) if (fields.inAnotherSpelling(name)) malformed(`${name} in another spelling`);
}

/** The covered fields and their values, each there exactly once. */
export const coveredValues = (fields, covered) => covered.map((name) => [name, fields.exactlyOnce(name)]);

/** Which fields of the floor are present, in whatever spelling, and not covered. */
export const uncovered = (fields, covered, floor) =>
    floor.filter((name) => fields.inAnySpelling(name) && !covered.includes(name));
