// A client of services over HTTP (http.md): binds each request, and believes no response that does not prove itself.

import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';

import { HTTP, apRequest, openApReply } from './ap_exchange.mjs';
import { Fields, canonicalAuthority, contentDigest } from './http_fields.mjs';
import { bindHttp, openHttpReply, readChallenge, writeAuthorization } from './http_headers.mjs';
import { RefusedByPeer } from './kdc_messages.mjs';
import { digest, same } from './keys.mjs';
import { Refusal } from './refusal.mjs';

/** What a target's floor asks for. */
const FLOOR = ['content-type', 'content-encoding', 'idempotency-key'];
const PROVEN = ['content-type', 'content-encoding', 'location'];
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const NO_CONTENT = new Set([204, 304]);

const bytesOf = (text) => Buffer.from(text, 'latin1');

/** The fields of a message of Node: lower-case names, values without white space around them. */
export function fieldsOf(rawHeaders) {
    const pairs = [];
    for (let index = 0; index < rawHeaders.length; index += 2) {
        pairs.push([
            rawHeaders[index].toLowerCase(),
            bytesOf(rawHeaders[index + 1].replaceAll(/^[ \t]+|[ \t]+$/g, '')),
        ]);
    }
    return new Fields(pairs);
}

function send({ host, port }, { method, target, headers, body }) {
    return new Promise((resolve, reject) => {
        const request = httpRequest(
            { host, port, method, path: target, headers, setHost: false, agent: false },
            (response) => {
                const pieces = [];
                response.on('data', (piece) => pieces.push(piece));
                response.on('error', reject);
                response.on('end', () => {
                    resolve({
                        status: response.statusCode,
                        fields: fieldsOf(response.rawHeaders),
                        body: Buffer.concat(pieces),
                    });
                });
            },
        );
        request.on('error', reject);
        request.end(body);
    });
}

const unproven = (detail) => new Refusal('answer', 'response-unproven', detail);

/** Refuses a response that `Orthros-Reply` does not prove to be the target's answer to this request. */
function checkResponse(pending, method, { status, fields, body }) {
    const headers = fields.values('orthros-reply');
    if (headers.length !== 1) throw unproven(`status ${status} without a proof`);
    try {
        const read = openHttpReply(pending, headers[0].toString('latin1'), { status, headers: fields.pairs });
        const open = PROVEN.filter((name) => fields.values(name).length !== 0 && !read.covered.includes(name));
        if (open.length !== 0) throw unproven(`${open.join(', ')} is not covered`);
        const content = method === 'HEAD' || NO_CONTENT.has(status) ? Buffer.alloc(0) : body;
        if (read.body_digest === null) throw unproven('nothing is known about the body');
        if (!same(read.body_digest, digest(content))) throw unproven('another body');
        return read;
    } catch (problem) {
        if (problem instanceof Refusal) throw unproven(problem.message);
        throw problem;
    }
}

// The AP-ERR in a challenge, if its MAC is right; any other challenge proves nothing.
function refusalIn(pending, { fields }) {
    for (const header of fields.values('www-authenticate')) {
        try {
            const { reply } = readChallenge(header.toString('latin1'));
            if (reply !== null) openApReply(pending, reply);
        } catch (problem) {
            if (problem instanceof RefusedByPeer) return problem;
            if (!(problem instanceof Refusal)) throw problem;
        }
    }
    return null;
}

/** One target at one origin, and the newest epoch that was heard there. */
export class HttpCaller {
    #epoch = null;

    constructor({ scheme, authority, address, credentials }) {
        Object.assign(this, {
            scheme,
            authority: canonicalAuthority(authority, scheme),
            host: authority,
            address,
            credentials,
        });
    }

    /** The request as it goes out, with a new AP-REQ, and what is needed to read its answer. */
    prepare({ method, target, headers = {}, body = null, cover = [], epoch = this.#epoch }) {
        const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
        const names = [...FLOOR, ...cover].filter((name, index, all) => name in sent && all.indexOf(name) === index);
        const digested = body === null ? null : bytesOf(contentDigest(body));
        const bind = bindHttp({
            method,
            scheme: this.scheme,
            authority: this.authority,
            target: bytesOf(target),
            covered: names.map((name) => [name, bytesOf(sent[name])]),
            content_digest: digested,
        });
        const pending = apRequest({
            ...this.credentials,
            use: HTTP,
            ts: Date.now(),
            nonce: randomBytes(16),
            epoch,
            bind,
        });
        const own = {
            host: this.host,
            authorization: writeAuthorization({ covered: names, message: pending.message }),
        };
        const about =
            body === null
                ? {}
                : { 'content-digest': digested.toString('latin1'), 'content-length': String(body.length) };
        return { pending, request: { method, target, headers: { ...sent, ...own, ...about }, body } };
    }

    /**
     * Calls, and repeats after `epoch-required` or `not-repeatable` with the epoch that the refusal told: a request that named none was
     * executed nowhere. `attempts` are the codes of what was refused on the way.
     */
    async call(wanted) {
        const attempts = [];
        for (;;) {
            const named = this.#epoch;
            const { pending, request } = this.prepare(wanted);
            const response = await send(this.address, request);
            const refused = refusalIn(pending, response);
            if (refused === null || response.fields.values('orthros-reply').length !== 0) {
                const { epoch } = checkResponse(pending, wanted.method, response);
                this.#epoch = epoch;
                return { ...response, refused, attempts };
            }
            if (!this.#mayRepeat(refused, named, attempts, wanted.method)) throw refused;
            attempts.push(refused.code);
            this.#epoch = refused.told.epoch;
        }
    }

    #mayRepeat({ code }, named, attempts, method) {
        if (code !== 'epoch-required' && code !== 'not-repeatable') return false;
        if (attempts.length >= 3) return false;
        return named === null || (code === 'epoch-required' && REPEATABLE.has(method));
    }
}
