// What Orthros writes into HTTP: binding, Authorization, Orthros-Reply, challenge (http.md). Every header has one form.

import { MOST_ANSWER_BODY, MOST_REQUEST, answerFromParts, partsOfAnswer } from './ap_exchange.mjs';
import { binary, constant, integer, list, message, optional, text, uint } from './fields.mjs';
import {
    Fields,
    MOST_COVERED,
    MOST_VALUE,
    checkAuthority,
    checkCovered,
    checkMethod,
    checkScheme,
    fromBase64,
    readContentDigest,
} from './http_fields.mjs';
import { checkMac, digest, mac, same } from './keys.mjs';
import { encode } from './msgpack.mjs';
import { name } from './names.mjs';
import { Refusal, malformed } from './refusal.mjs';

const MOST_PARTS = 64 * 1024;
const BASE64URL = '[A-Za-z0-9_-]+';
const target = binary(1, MOST_VALUE);
const value = binary(0, MOST_VALUE);

/** `bind32` of profile http/1. `covered` is `[name, value]` in the order of `h`, `content_digest` a field's value or null. */
export function bindHttp({ method, scheme, authority, target: asked, covered, content_digest: digested }) {
    checkCovered(covered.map(([own]) => own));
    if (digested !== null) readContentDigest(digested.toString('latin1'));
    const parts = encode([
        'http/1',
        checkMethod(method),
        checkScheme(scheme),
        checkAuthority(authority, scheme),
        target.write(asked),
        covered.map(([own, bytes]) => [own, value.write(bytes)]),
        digested,
    ]);
    if (parts.length > MOST_PARTS) malformed('more than 64 KiB');
    return digest(parts);
}

const AUTHORIZATION = new RegExp(`^[Oo][Rr][Tt][Hh][Rr][Oo][Ss] v=1, h="([^"]*)", r="(${BASE64URL})"$`);

/** The covered names and the AP-REQ of an `Authorization`. */
export function readAuthorization(header) {
    const match = header.match(AUTHORIZATION);
    if (match === null) malformed('not an Authorization of Orthros');
    const [, names, encoded] = match;
    const bytes = fromBase64(encoded, 'base64url');
    if (bytes.length > MOST_REQUEST) malformed('more than 24 KiB');
    return { covered: checkCovered(names === '' ? [] : names.split(';')), message: bytes };
}

export function writeAuthorization({ covered, message: bytes }) {
    if (bytes.length === 0 || bytes.length > MOST_REQUEST) malformed('no AP-REQ, or more than 24 KiB');
    return `Orthros v=1, h="${checkCovered(covered).join(';')}", r="${bytes.toString('base64url')}"`;
}

const fieldName = text('a lower-case token', /^[!#$%&'*+.^_`|~0-9a-z-]{1,64}$/);
const replyBody = message(
    {
        version: constant(1),
        ts: uint,
        epoch: binary(8),
        status: integer(100, 999),
        covered: list(fieldName, 0, MOST_COVERED),
        values: binary(32),
        body_digest: optional(binary(32)),
    },
    MOST_ANSWER_BODY,
);

const valuesDigest = (fields, covered) => digest(encode(covered.map((own) => fields.exactlyOnceAsWritten(own))));

class ResponseFields extends Fields {
    // A response's covered field is the one with exactly this name; other spellings are nothing to a client.
    exactlyOnceAsWritten(own) {
        const found = this.values(own);
        if (found.length !== 1) malformed(`${own} is not there exactly once`);
        return found[0];
    }
}

const replyMac = (exchange, bytes) => mac(exchange.pop, 'http-rep', Buffer.concat([exchange.digest, bytes]));

/** The value of `Orthros-Reply` for a response; `exchange` has the K_pop and the digest of the request. */
export function writeHttpReply(exchange, { status, headers, covered, body_digest: bodyDigest, now, epoch }) {
    const fields = new ResponseFields(headers);
    const values = valuesDigest(fields, checkCovered(covered));
    const bytes = replyBody.encode({ version: 1, ts: now, epoch, status, covered, values, body_digest: bodyDigest });
    return `s=${bytes.toString('base64url')}, m=${replyMac(exchange, bytes).toString('base64url')}`;
}

const REPLY = new RegExp(`^s=(${BASE64URL}), m=(${BASE64URL})$`);

/** What `Orthros-Reply` proves of a response, up to the values of the covered fields. */
export function openHttpReply(exchange, header, { status, headers }) {
    const match = header.match(REPLY);
    if (match === null) malformed('not an Orthros-Reply');
    const [bytes, given] = match.slice(1).map((part) => fromBase64(part, 'base64url'));
    if (bytes.length > MOST_ANSWER_BODY) malformed('a body over 4 KiB');
    checkMac(exchange.pop, 'http-rep', Buffer.concat([exchange.digest, bytes]), given);
    const read = replyBody.decode(bytes);
    checkCovered(read.covered);
    if (read.status !== status) throw new Refusal('answer', 'reply-mismatch', 'another status');
    if (!same(valuesDigest(new ResponseFields(headers), read.covered), read.values)) {
        throw new Refusal('answer', 'reply-mismatch', 'another value');
    }
    return read;
}

const CODE = '[a-z0-9-]{1,64}';
const CHALLENGE = new RegExp(
    `^[Oo][Rr][Tt][Hh][Rr][Oo][Ss] realm="([^"]*)"(?:, err="(${CODE})"(?:, s="(${BASE64URL})", m="(${BASE64URL})")?)?$`,
);

/** A challenge: its realm, the code for people, and the AP-ERR if there is one. */
export function readChallenge(header) {
    const match = header.match(CHALLENGE);
    if (match === null) malformed('not a challenge of Orthros');
    const [, realm, code = null, inside, given] = match;
    name.read(realm);
    if (inside === undefined) return { realm, code, reply: null };
    return { realm, code, reply: answerFromParts(fromBase64(inside, 'base64url'), fromBase64(given, 'base64url')) };
}

export function writeChallenge({ realm, code, reply }) {
    if (code !== null && !new RegExp(`^${CODE}$`).test(code)) malformed('not a code');
    const err = code === null ? '' : `, err="${code}"`;
    name.write(realm);
    if (reply === null) return `Orthros realm="${realm}"${err}`;
    if (code === null) malformed('an AP-ERR without a code');
    const { body, mac: given } = partsOfAnswer(reply);
    return `Orthros realm="${realm}"${err}, s="${body.toString('base64url')}", m="${given.toString('base64url')}"`;
}
