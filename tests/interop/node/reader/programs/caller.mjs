// node caller.mjs --key FILE --kdc HOST:PORT: a client. Each line of its input is a command, each line out its result.
// A line is an object with one of the fields below; what the reader refuses is `{ "refused": code, "stage": stage }`.

import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { apRequest, bindRaw, openApReply } from '../ap_exchange.mjs';
import { HttpCaller } from '../http_caller.mjs';
import { KdcClient } from '../kdc_client.mjs';
import { KeyFile } from '../key_files.mjs';
import { Refusal } from '../refusal.mjs';
import { readAsTarget } from '../tokens.mjs';
import { addressOf } from './addresses.mjs';

const { values } = parseArgs({ options: { key: { type: 'string' }, kdc: { type: 'string' } } });
const kdc = new KdcClient(addressOf(values.kdc), KeyFile.load(values.key));
const credentials = new Map();
const callers = new Map();
const pending = new Map();

const DEEDS = {
    /** AS: a TGT. */
    async login() {
        const { ttl_s, kdc_id, cname } = await kdc.login();
        return { ttl_s, kdc_id, client: cname };
    },

    /** AS for services of the KDC, on one connection. */
    async initial({ services }) {
        const tickets = await kdc.initialTickets(services);
        return tickets.map(({ ttl_s, answers }) => ({ ttl_s, ...answers }));
    },

    /** TGS: all wants in one request. */
    async ask({ wants }) {
        const results = await kdc.ask(wants);
        return results.map(({ target, scopes, code }) => ({ target, scopes, code }));
    },

    async ticket({ target, scopes = null }) {
        const { scopes: granted, ...ticket } = await kdc.ticket(target, scopes);
        credentials.set(target, ticket);
        return { scopes: granted };
    },

    /** A JWT for a target, read as its target reads it: with its JWK, audience and issuer. */
    async token({ target, jwk, aud, iss }) {
        const [{ credential }] = await kdc.ask([{ kind: 1, target, scopes: null, ttl_s: 0, flags: 0 }]);
        const record = { alg: jwk.alg, kid: jwk.kid, key: Buffer.from(jwk.k, 'base64url') };
        return readAsTarget(credential.toString('latin1'), record, { aud, iss, now: Date.now() });
    },

    async http({ target: asked, origin, method, path, headers, body = null }) {
        const [scheme, authority] = origin.split('://');
        const key = `${asked} ${origin}`;
        const caller =
            callers.get(key) ??
            new HttpCaller({ scheme, authority, address: addressOf(authority), credentials: credentials.get(asked) });
        callers.set(key, caller);
        const bytes = body === null ? null : Buffer.from(body, 'utf8');
        const {
            status,
            body: content,
            refused,
            attempts,
        } = await caller.call({ method, target: path, headers, body: bytes });
        return { status, body: content.toString('utf8'), code: refused?.code ?? null, attempts };
    },

    /** A raw AP-REQ, which another program carries to the target. */
    async raw({ target, endpoint, payload, epoch = null, flags = 0 }) {
        const bind = bindRaw(endpoint, Buffer.from(payload, 'utf8'));
        const named = epoch === null ? null : Buffer.from(epoch, 'hex');
        const made = apRequest({
            ...credentials.get(target),
            use: 0,
            ts: Date.now(),
            nonce: randomBytes(16),
            epoch: named,
            flags,
            bind,
        });
        const request = made.message.toString('hex');
        pending.set(request, made);
        return { request };
    },

    /** The answer to one of them. */
    async open({ request, reply }) {
        const { epoch } = openApReply(pending.get(request), Buffer.from(reply, 'hex'));
        return { epoch: epoch.toString('hex') };
    },
};

async function answer(line) {
    const { do: deed, ...given } = JSON.parse(line);
    try {
        return { done: await DEEDS[deed](given) };
    } catch (problem) {
        if (!(problem instanceof Refusal)) throw problem;
        const epoch = problem.told?.epoch?.toString('hex');
        return { refused: problem.code, stage: problem.stage, detail: problem.detail, epoch };
    }
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await answer(line)));
