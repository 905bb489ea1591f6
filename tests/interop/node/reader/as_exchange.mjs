// The initial exchange (as_exchange.md).

import { binary, constant, extensions, integer, message, record, u32, uint } from './fields.mjs';
import { openReply, sealError, sealReply, signed } from './kdc_messages.mjs';
import { checkMac, kid, mac, roleKey, same } from './keys.mjs';
import { checkCritical, checkFlags, name } from './names.mjs';
import { Refusal, malformed, noticedAt } from './refusal.mjs';
import { DELEGABLE, INITIAL, SERVICE, TGT, readHeader, ticketField } from './tickets.mjs';

const MOST_BODY = 4096;
const ENVELOPE = 1 + 3 + 34;

const request = signed(MOST_BODY, MOST_BODY + ENVELOPE);
const body = message({
    version: constant(1),
    kind: constant(1),
    realm: name,
    kid: binary(8),
    nonce: binary(16),
    ts: uint,
    service: name,
    ttl_s: u32,
    flags: u32,
    instance: binary(16),
    crit: extensions(),
    opt: extensions(),
});
const reply = message({
    nonce: binary(16),
    kdc_time: uint,
    kdc_id: name,
    answers: record({ type: integer(TGT, SERVICE), realm: name, service: name }),
    cname: name,
    cuid: uint,
    ticket: ticketField,
    session_key: binary(32),
    ttl_s: u32,
    flags: u32,
    newest_kvno: integer(1, 0xffffffff),
    opt: extensions(),
});

/** The type of the tickets for a service of the KDC. */
const typeFor = (service) => (service === 'kdc/tgt' ? TGT : SERVICE);

/** An AS-REQ, and what is needed to open the answer. `client` has the key K_as as `as_key`, or a root. */
export function asRequest({ client, service, ttl_s, instance, ts, nonce }) {
    const key = client.as_key ?? roleKey(client.root, 'as');
    const bytes = body.encode({
        version: 1,
        kind: 1,
        realm: client.realm,
        kid: kid(key),
        nonce,
        ts,
        service,
        ttl_s,
        flags: 0,
        instance,
        crit: new Map(),
        opt: new Map(),
    });
    const sent = request.encode({ body: bytes, mac: mac(key, 'as-req', bytes) });
    return { message: sent, key, nonce, service, client };
}

/** What an AS-REQ asks, once its sender has proven its key. `keys` are the K_as of one realm. */
export function verifyAsRequest(bytes, realm, keys) {
    const { body: inside, mac: given } = request.decode(bytes);
    const fields = body.decode(inside);
    const key = keys.find((one) => same(kid(one), fields.kid));
    if (key === undefined || fields.realm !== realm) throw new Refusal('kid', 'unknown-key');
    checkMac(key, 'as-req', inside, given);
    checkFlags(fields.flags, 0);
    checkCritical(fields.crit);
    return fields;
}

const exchange = (pending) => ({ key: pending.key, name: 'as', request: pending.message });

/** An AS-REP to a pending request. */
export function asReply(pending, { ticket, session_key, ttl_s, flags, newest_kvno, kdc_id, kdc_time, entropy }) {
    const { nonce, service, client } = pending;
    const plaintext = reply.encode({
        nonce,
        kdc_time,
        kdc_id,
        answers: { type: typeFor(service), realm: client.realm, service },
        cname: client.name,
        cuid: client.uid,
        ticket,
        session_key,
        ttl_s,
        flags,
        newest_kvno,
        opt: new Map(),
    });
    return sealReply({ ...exchange(pending), plaintext, entropy });
}

export const asError = (pending, refusal) => sealError({ ...exchange(pending), ...refusal });

/** The answer to a pending request, if it is one. */
export function openAsReply(pending, bytes) {
    const plaintext = openReply(bytes, exchange(pending));
    const fields = noticedAt('body', () => reply.decode(plaintext));
    const { nonce, service, client } = pending;
    const { answers } = fields;
    const right =
        same(fields.nonce, nonce) &&
        answers.type === typeFor(service) &&
        answers.realm === client.realm &&
        answers.service === service &&
        fields.cname === client.name &&
        fields.cuid === client.uid;
    if (!right) throw new Refusal('answer', 'reply-mismatch');
    noticedAt('body', () => {
        if (readHeader(fields.ticket).type !== answers.type) malformed('a ticket of another type than the reply says');
    });
    checkFlags(fields.flags, INITIAL | DELEGABLE);
    return fields;
}
