// Tokens for targets that understand nothing else (jwt.md): JWTs, handles, and the mark by which the KDC knows its own.

import { createHmac } from 'node:crypto';

import { writeJson } from './canonical_json.mjs';
import { LEAST_BOX, mac, open, same, seal } from './keys.mjs';
import { encode } from './msgpack.mjs';
import { Refusal, malformed, malformedMeans } from './refusal.mjs';
import { checkForm, readClaims } from './token_claims.mjs';

const MOST_TOKEN = 16_384;
const HANDLE = 'ort1h_';
const HASHES = new Map([
    ['HS256', 'sha256'],
    ['HS512', 'sha512'],
]);
const KID = 8;
const MARK = 16;

const ascii = (text) => Buffer.from(text, 'latin1');
const base64url = (bytes) => Buffer.from(bytes).toString('base64url');

function fromBase64url(text) {
    const bytes = Buffer.from(text, 'base64url');
    return bytes.length !== 0 && base64url(bytes) === text ? bytes : malformed('not base64url in its one form');
}

const headerOf = ({ alg, kid }) => ascii(writeJson({ alg, kid, typ: 'orthros+jwt' }));
const signatureOf = ({ alg, key }, input) => createHmac(HASHES.get(alg), key).update(input).digest();

/** The mark of claims for the key record `kid`: `number.BASE64URL`. */
function markOf(claims, kid, number, macKey) {
    const { kdc: _mark, ...others } = claims;
    const marked = ascii(writeJson({ claims: others, kid }));
    return `${number}.${base64url(mac(macKey, 'jwt', marked).subarray(0, MARK))}`;
}

const withMark = (claims, kid, number, macKey) => ({ ...claims, kdc: markOf(claims, kid, number, macKey) });

/** A token with these claims and the KDC's mark, in the form of the key record. */
export function mintToken(claims, record, { mac_no: number, mac_key: macKey, entropy }) {
    const marked = withMark(claims, record.kid, number, macKey);
    return record.alg === 'opaque' ? writeHandle(marked, record, entropy) : writeJwt(marked, record);
}

/** A JWT with these claims, under the key record `{ alg, kid, key }`. */
function writeJwt(claims, record) {
    const input = `${base64url(headerOf(record))}.${base64url(ascii(writeJson(claims)))}`;
    return `${input}.${base64url(signatureOf(record, input))}`;
}

const handleContext = (kid) => encode(['handle', kid]);

/** A handle with these claims; the kid is text, the hexadecimal form of eight bytes. */
function writeHandle(claims, { kid, key }, entropy) {
    const name = Buffer.from(kid, 'hex');
    return (
        HANDLE +
        base64url(Buffer.concat([name, seal(key, 'handle', handleContext(name), ascii(writeJson(claims)), entropy)]))
    );
}

const notOwn = (detail, stage = 'kdc-mark') => new Refusal(stage, 'token-not-own', detail);

function recordOf(records, kid) {
    const found = records.find((one) => one.kid === kid);
    if (found === undefined) throw new Refusal('kid', 'unknown-key');
    return found;
}

function kidOf(header) {
    try {
        const { kid } = JSON.parse(header.toString('utf8'));
        if (typeof kid === 'string') return kid;
    } catch {
        // Not JSON at all: said below.
    }
    return malformed('a header without kid');
}

function openJwt(token, records) {
    const parts = token.split('.');
    if (parts.length !== 3) malformed('not three parts');
    const [header, payload, signature] = parts.map(fromBase64url);
    const kid = kidOf(header);
    const record = recordOf(records, kid);
    if (!HASHES.has(record.alg) || !header.equals(headerOf(record)))
        throw notOwn('another header than that of the key', 'header');
    if (!same(signatureOf(record, `${parts[0]}.${parts[1]}`), signature)) throw new Refusal('mac', 'wrong-mac');
    return { payload, record };
}

function openHandle(token, records) {
    const bytes = fromBase64url(token.slice(HANDLE.length));
    if (bytes.length < KID + LEAST_BOX) malformed('no box');
    const kid = bytes.subarray(0, KID);
    const record = recordOf(records, kid.toString('hex'));
    if (record.alg !== 'opaque') throw notOwn('a handle of a key for JWTs', 'header');
    return { payload: open(record.key, 'handle', handleContext(kid), bytes.subarray(KID), MOST_TOKEN), record };
}

/** The claims of a JWT for a target, which has the one key of the record and no key of marks. */
export function readAsTarget(token, record, { aud, iss, now }) {
    const claims = readClaims(openJwt(token, [record]).payload);
    checkClaims(claims, { aud, iss, now });
    return claims;
}

function checkMark(claims, kid, macKeys) {
    const match = typeof claims.kdc === 'string' ? claims.kdc.match(/^([1-9][0-9]*)\.[A-Za-z0-9_-]{22}$/) : null;
    const key = match === null ? undefined : macKeys.get(Number(match[1]));
    if (key === undefined) throw notOwn('no mark, or of a number that is not held');
    if (!same(ascii(markOf(claims, kid, match[1], key)), ascii(claims.kdc))) throw notOwn('another mark');
}

/**
 * The claims of a token that the KDC takes for its own. `records` are the live keys of the audience, `{ alg, kid, key }`, where alg is
 * HS256, HS512 or opaque; `now` is in milliseconds.
 */
export function verifyToken(token, { records, mac_keys: macKeys, aud, iss, now }) {
    if (token.length > MOST_TOKEN || !/^[\x21-\x7e]+$/.test(token)) malformed('not a token');
    const { payload, record } = token.startsWith(HANDLE) ? openHandle(token, records) : openJwt(token, records);
    const claims = malformedMeans('kdc-mark', 'token-not-own', () => readClaims(payload));
    checkMark(claims, record.kid, macKeys);
    malformedMeans('kdc-mark', 'token-not-own', () => checkForm(claims));
    checkClaims(claims, { aud, iss, now });
    return claims;
}

function checkClaims(claims, { aud, iss, now }) {
    const refuse = (code) => {
        throw new Refusal('token', code);
    };
    if (claims.aud !== aud || claims.iss !== iss) refuse('token-for-another');
    const second = Math.floor(Number(now) / 1000);
    if (!(claims.exp > second)) refuse('token-expired');
    if (claims.iat > second + 300) refuse('ticket-times-invalid');
}
