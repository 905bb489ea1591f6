// Signatures in the form of RFC 9421 (http.md): a profile for peers that expect them, beside the binding of an AP-REQ.

import { createHmac } from 'node:crypto';

import { checkEpoch, checkWindow } from './ap_exchange.mjs';
import { Fields, fromBase64 } from './http_fields.mjs';
import { derive, digest, same } from './keys.mjs';
import { Refusal, malformed } from './refusal.mjs';
import { checkAdmission } from './replay.mjs';

const REQUIRED = ['@method', '@target-uri', '@authority', 'content-digest', 'authorization'];
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const TAG = 'orthros-v1';
const MOST_LIFE = 300;
const MOST_INPUT = 4096;
const PREFIX = 'orthros=';
const DEFAULT_PORTS = new Map([
    ['http', ':80'],
    ['https', ':443'],
]);

const NAME = '"@?[a-z0-9-]{1,64}"';
const NUMBER = '[0-9]{1,15}';
const STRING = String.raw`"[\x20\x21\x23-\x5b\x5d-\x7e]{1,128}"`;
const PARAMETER = `;[a-z]{1,16}=(?:${NUMBER}|${STRING})`;
const INPUT = new RegExp(String.raw`^\((${NAME}(?: ${NAME})*)\)((?:${PARAMETER})*)$`);
const SIGNATURE = /^orthros=:([A-Za-z0-9+/]{43}=):$/;

/** The key that belongs to a ticket's K_pop, and the name by which both sides know the ticket. */
export const signatureKey = (pop) => derive(pop, 'rfc9421');
export const keyIdOf = (ticket) => digest(ticket).subarray(0, 16).toString('hex');

function authorityOf({ target_uri: uri, authority }) {
    const port = DEFAULT_PORTS.get(uri.split('://', 1)[0]);
    const host = authority.toLowerCase();
    return port !== undefined && host.endsWith(port) ? host.slice(0, -port.length) : host;
}

const DERIVED = new Map([
    ['@method', ({ method }) => method],
    ['@target-uri', ({ target_uri: uri }) => uri],
    ['@authority', authorityOf],
]);

function valueOf(request, name) {
    const derived = DERIVED.get(name);
    const found =
        derived === undefined
            ? new Fields(request.headers)
                  .exactlyOnce(name)
                  .toString('latin1')
                  .replaceAll(/^[ \t]+|[ \t]+$/g, '')
            : derived(request);
    // A line break in a value would begin another line of the base.
    return /^[\x20-\x7e\t]*$/.test(found) ? found : malformed(`${name} has other characters than visible ones`);
}

/** What is signed: a line for each component, then the parameters as they are written. */
function signatureBase(request, components, parameters) {
    const lines = components.map((name) => `"${name}": ${valueOf(request, name)}`);
    return Buffer.from([...lines, `"@signature-params": ${parameters}`].join('\n'), 'latin1');
}

const macOf = (secret, base) => createHmac('sha256', secret).update(base).digest();

/** `Signature-Input` and `Signature` for a request: method, target_uri, authority, headers. */
export function signRequest(request, secret, { components, created, expires, nonce, keyid }) {
    const names = components.map((name) => `"${name}"`).join(' ');
    const text = `(${names});created=${created};expires=${expires};nonce="${nonce}";keyid="${keyid}";tag="${TAG}"`;
    readInput(PREFIX + text);
    const signature = macOf(secret, signatureBase(request, components, text)).toString('base64');
    return { input: PREFIX + text, signature: `orthros=:${signature}:` };
}

const KINDS = new Map([
    ['created', 'number'],
    ['expires', 'number'],
    ['nonce', 'string'],
    ['keyid', 'string'],
    ['tag', 'string'],
    ['alg', 'string'],
]);

function readParameters(text) {
    const pairs = [...text.matchAll(new RegExp(PARAMETER, 'g'))].map(([one]) => {
        const [name, value] = one.slice(1).split(/=(.*)/s, 2);
        return [name, value.startsWith('"') ? value.slice(1, -1) : Number(value)];
    });
    const parameters = new Map(pairs);
    if (parameters.size !== pairs.length) malformed('a parameter occurs twice');
    for (const [name, value] of parameters)
        if (KINDS.get(name) !== typeof value) malformed(`${name} is not a parameter here, or of another kind`);
    for (const name of KINDS.keys()) if (name !== 'alg' && !parameters.has(name)) malformed(`no ${name}`);
    if (parameters.get('tag') !== TAG || (parameters.get('alg') ?? 'hmac-sha256') !== 'hmac-sha256')
        malformed('another profile or algorithm');
    return Object.fromEntries(parameters);
}

function readInput(input) {
    if (!input.startsWith(PREFIX)) malformed('not a signature of this profile');
    const text = input.slice(PREFIX.length);
    const match = text.length <= MOST_INPUT ? text.match(INPUT) : null;
    if (match === null) malformed('not a Signature-Input of this profile');
    const components = match[1].split(' ').map((name) => name.slice(1, -1));
    if (new Set(components).size !== components.length) malformed('a component occurs twice');
    return { text, components, ...readParameters(match[2]) };
}

/**
 * Verifies a signature and burns it. `keyOf` gives `{ secret, client, end }` for a keyid, or undefined; `repeatable` says that
 * the route lets any request be repeated; one of a safe method may be, unless it asks for an upgrade.
 */
export function verifySignature(request, { input, signature }, { keyOf, store, repeatable = false }) {
    const read = readInput(input);
    const proof = signature.match(SIGNATURE) ?? malformed('not a Signature of this profile');
    const given = fromBase64(proof[1], 'base64');
    const refuse = (stage, code) => {
        throw new Refusal(stage, code);
    };
    const base = signatureBase(request, read.components, read.text);
    const key = keyOf(read.keyid) ?? refuse('kid', 'unknown-key');
    const mac = macOf(key.secret, base);
    if (!same(mac, given)) refuse('mac', 'wrong-mac');
    if (read.created > key.end) refuse('ticket-times', 'ticket-expired');
    const ts = read.created * 1000;
    const instance = store.admit({ tag: mac.subarray(0, 16), ts, client: key.client, ticket: read.keyid });
    checkAdmission(instance.answer);
    checkWindow(ts, instance.now);
    const second = Math.floor(instance.now / 1000);
    if (read.expires < read.created || read.expires > read.created + MOST_LIFE || read.expires <= second)
        refuse('window', 'clock-skew');
    if (key.end <= second) refuse('ticket-times', 'ticket-expired');
    const allowed =
        repeatable || (REPEATABLE.has(request.method) && !new Fields(request.headers).inAnySpelling('upgrade'));
    checkEpoch({ use: 1, epoch: null, ts }, instance, allowed ? 'allowed' : 'unsafe');
    if (!REQUIRED.every((name) => read.components.includes(name))) refuse('covered', 'not-covered');
    return { keyid: read.keyid, nonce: read.nonce, components: read.components };
}
