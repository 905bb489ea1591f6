// A service that verifies requests over HTTP offline (http.md, "Order of checks"), and proves its responses.

import { HTTP, NO_EPOCH, apError, judgeRequest, proveRequest } from './ap_exchange.mjs';
import {
    canonicalAuthority,
    checkAboutBody,
    coveredValues,
    readContentDigest,
    readContentLength,
    uncovered,
} from './http_fields.mjs';
import { bindHttp, readAuthorization, writeChallenge, writeHttpReply } from './http_headers.mjs';
import { digest, same } from './keys.mjs';
import { checkPath } from './paths.mjs';
import { Refusal, malformed } from './refusal.mjs';

const MOST_FIELDS = 256;
const MOST_HEAD = 128 * 1024;
const FLOOR = ['content-type', 'content-encoding', 'idempotency-key'];
const PROVEN = ['content-type', 'content-encoding', 'location'];
const OVERRIDES = [
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
    'x-original-url',
    'x-rewrite-url',
    'script-name',
    'path-info',
];
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const FORBIDDEN = new Set([
    'caveat-refused',
    'caveat-unsupported',
    'chain-refused',
    'user-not-accepted',
    'insufficient-scope',
    'vetoed',
]);

const latin1 = (bytes) => bytes.toString('latin1');

/** Step 4: what the head says of the body. */
function readAboutBody(fields) {
    checkAboutBody(fields);
    const length = fields.atMostOnce('content-length');
    const coding = fields.atMostOnce('transfer-encoding');
    const digested = fields.atMostOnce('content-digest');
    if (length !== null && coding !== null) malformed('Content-Length and Transfer-Encoding');
    return {
        length: length === null ? null : readContentLength(latin1(length)),
        chunked: coding !== null,
        digested,
        sha256: digested === null ? null : readContentDigest(latin1(digested)),
    };
}

/** Step 2: the one `Authorization`, if it is one of Orthros. */
function readCredentials(fields) {
    const found = fields.values('authorization');
    if (found.length > 1) malformed('Authorization more than once');
    if (found.length === 0 || !/^orthros /i.test(latin1(found[0])))
        throw new Refusal('encoding', 'credentials-missing');
    return latin1(found[0]);
}

export class HttpTarget {
    /** `origins` are the configured ones, such as `http://orders.example:8080`. A body needs a known length. */
    constructor({ keys, realm, origins, store }) {
        this.origins = origins.map((origin) => {
            const [scheme, authority] = origin.split('://');
            return { scheme, authority: canonicalAuthority(authority, scheme) };
        });
        Object.assign(this, { keys, realm, store });
    }

    #origin(fields) {
        const host = latin1(fields.exactlyOnce('host'));
        const found = this.origins.find(({ scheme, authority }) => canonicalAuthority(host, scheme) === authority);
        return found ?? malformed('Host is none of the origins');
    }

    /** Steps 0 to 7: what costs no more than reading the head. */
    #readHead({ method, target, fields }) {
        const size = fields.pairs.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
        if (fields.pairs.length > MOST_FIELDS || size > MOST_HEAD) malformed('a head that is too large');
        const [path] = target.split('?', 1);
        checkPath(path);
        const header = readCredentials(fields);
        for (const name of OVERRIDES)
            if (fields.inAnySpelling(name)) malformed(`${name} asks for another method or path`);
        const about = readAboutBody(fields);
        const origin = this.#origin(fields);
        const { covered, message } = readAuthorization(header);
        const values = coveredValues(fields, covered);
        const bind = bindHttp({
            method,
            ...origin,
            target: Buffer.from(target, 'latin1'),
            covered: values,
            content_digest: about.digested,
        });
        return { message, bind, path, about, covered };
    }

    /**
     * Judges the head of a request, and gives what is needed to go on with its body; or throws an Answer.
     * `scopes` are those of the route.
     */
    judgeHead({ method, target, fields, peer, scopes: wanted = [] }) {
        const head = this.#answering(null, () => this.#readHead({ method, target, fields }), { status: 400 });
        const proven = this.#answering(null, () => proveRequest(head.message, { keys: this.keys, use: HTTP }), {
            status: 401,
        });
        const repetition = REPEATABLE.has(method) && !fields.inAnySpelling('upgrade') ? 'allowed' : 'unsafe';
        const facts = { method, path: head.path, peer, channel: null, app: new Map() };
        const situation = { store: this.store, bind: head.bind, facts, repetition };
        const accepted = this.#answering(proven, () => judgeRequest(proven, situation), {});
        const { instance } = accepted;
        this.#answering(proven, () => this.#checkFloor(fields, head), { instance });
        this.#answering(proven, () => checkScopes(accepted.scopes, wanted), { instance, accepted: true });
        return { ...accepted, about: head.about };
    }

    #checkFloor(fields, { covered, about }) {
        const missing = uncovered(fields, covered, FLOOR);
        const hasBody = about.chunked || (about.length !== null && about.length !== 0);
        if (hasBody && about.sha256 === null) missing.push('content-digest');
        if (about.chunked) missing.push('content-length');
        if (missing.length !== 0) throw new Refusal('bind', 'not-covered', missing.join(', '));
    }

    /** Step 11, for a body that was read whole. */
    checkBody({ proven, about, instance }, body) {
        this.#answering(
            proven,
            () => {
                const right = about.sha256 === null ? body.length === 0 : same(about.sha256, digest(body));
                if (!right || (about.length !== null && about.length !== body.length))
                    throw new Refusal('bind', 'body-mismatch');
            },
            { instance, accepted: true, status: 400 },
        );
    }

    // Turns a refusal into the answer of the table in http.md.
    #answering(proven, work, { status, instance, accepted = false }) {
        try {
            return work();
        } catch (problem) {
            if (!(problem instanceof Refusal)) throw problem;
            throw this.#answer(proven, problem, { status, instance: instance ?? problem.told, accepted });
        }
    }

    #answer(proven, { code, detail }, { status, instance, accepted }) {
        const bare = { realm: this.realm, code: null, reply: null };
        if (code === 'credentials-missing') return new Answer(401, code, bare);
        if (proven === null) return new Answer(status, code, status === 401 ? bare : null);
        const time = { now: Date.now(), epoch: NO_EPOCH, ...instance };
        const challenge = { realm: this.realm, code, reply: apError(proven, code, time, detail) };
        const shown = status ?? (FORBIDDEN.has(code) ? 403 : 401);
        return new Answer(shown, code, challenge, accepted ? { proven, instance: time } : null);
    }
}

function checkScopes(granted, wanted) {
    const lacking = wanted.filter((scope) => !granted.includes(scope));
    if (lacking.length !== 0) throw new Refusal('user', 'insufficient-scope', lacking.join(' '));
}

/** What the service answers in the place of its application. With `accepted` the whole response is proven. */
export class Answer extends Error {
    constructor(status, code, challenge, accepted = null) {
        super(code);
        Object.assign(this, {
            status,
            code,
            challenge: challenge === null ? null : writeChallenge(challenge),
            accepted,
        });
    }
}

/** The `Orthros-Reply` of a response to a request that passed. */
export function proofOf({ proven, instance }, { status, headers, body }) {
    const covered = PROVEN.filter((name) => headers.filter(([own]) => own === name).length === 1);
    return writeHttpReply(proven, {
        status,
        headers,
        covered,
        body_digest: digest(body),
        now: Date.now(),
        epoch: instance.epoch,
    });
}
