// The shapes of tests/vectors/README.md, as inputs, and those that are outputs as well.

import { hex, int, list, map, maybe, nullable, shape, text, tuple } from './types.mjs';

const listOf = list;

export const rootFields = { root: hex, realm: text, name: text, uid: int, kvno: int };
export const root = shape(rootFields);
export const sealer = shape({ key: hex, type: int, realm: text, name: text, uid: int, kvno: int });

const macKeys = (value) => new Map([...map(hex)(value)].map(([number, key]) => [Number(number), key]));
export { macKeys };

/** What a KDC holds, as `verifyTgsRequest` takes it. */
export const kdc = (value) => {
    const read = shape({ tgt_key: sealer, mac_keys: macKeys, evidence_key: maybe(sealer) })(value);
    return {
        tgt_keys: [read.tgt_key],
        mac_keys: read.mac_keys,
        evidence_keys: read.evidence_key === undefined ? [] : [read.evidence_key],
    };
};

const subjectParts = tuple(text, int, int);
export const subject = (value) => {
    const [principal, uid, how] = subjectParts(value);
    return { principal, uid, how };
};
export const writeSubject = (value) => (value === null ? null : [value.principal, value.uid, value.how]);

const hopParts = tuple(text, int);
const hop = (value) => {
    const [principal, auth_time] = hopParts(value);
    return { principal, auth_time };
};

export const ticketFields = shape({
    tid: hex,
    client: text,
    client_uid: int,
    session_key: hex,
    iat: int,
    exp: int,
    auth_time: int,
    ckid: hex,
    flags: int,
    scopes: listOf(text),
    txn: hex,
    caveats: maybe(listOf(hex)),
    chain: maybe(listOf(hop)),
    subject: maybe(nullable(subject)),
});

/** An opened ticket, as the shape *ticket*. */
export function writeTicket(opened) {
    const { key, tid, client, client_uid, session_key, iat, exp, auth_time, ckid, flags, scopes, txn, caveats, chain } =
        opened;
    return {
        server: `${key.name}@${key.realm}`,
        server_uid: key.uid,
        kvno: key.kvno,
        tid,
        client,
        client_uid,
        session_key,
        iat,
        exp,
        auth_time,
        ckid,
        flags,
        scopes,
        txn,
        caveats,
        chain: chain.map(({ principal, auth_time: login }) => [principal, login]),
        subject: writeSubject(opened.subject),
    };
}

export const asRequestFields = { client: root, service: text, ttl_s: int, instance: hex, ts: int, nonce: hex };
export const asRequest = shape(asRequestFields);

const want = shape({
    target: text,
    kind: int,
    scopes: nullable(listOf(text)),
    ttl_s: int,
    flags: int,
    limits: maybe(listOf(hex)),
});
const behalf = shape({
    subject: maybe(text),
    evidence: maybe(hex),
    session_key: maybe(hex),
    caveats: maybe(listOf(hex)),
});
export const tgsRequestFields = {
    tgt: hex,
    session_key: hex,
    caveats: listOf(hex),
    wants: listOf(want),
    ts: int,
    nonce: hex,
    behalf: maybe(nullable(behalf)),
};
export const tgsRequest = shape(tgsRequestFields);

const discharge = shape({ cid_digest: hex, caveats: hex, tail: hex });
const userParts = tuple(text, int);
const user = (value) => {
    const [name, how] = userParts(value);
    return { name, how };
};
export const apRequestFields = {
    ticket: hex,
    session_key: hex,
    caveats: listOf(hex),
    use: int,
    bind: nullable(hex),
    ts: int,
    nonce: hex,
    epoch: nullable(hex),
    flags: int,
    user: nullable(user),
    discharges: maybe(listOf(discharge)),
};
export const apRequest = shape(apRequestFields);

const noteParts = tuple(int, int, nullable(int));
const note = (value) => {
    const [field, cause, index] = noteParts(value);
    return { field, cause, index };
};
const granted = shape({
    target: text,
    uid: int,
    credential: hex,
    session_key: nullable(hex),
    ttl_s: int,
    flags: int,
    kvno: int,
    scopes: listOf(text),
    notes: listOf(note),
    subject: maybe(nullable(subject)),
    demands: maybe(listOf(hex)),
});
const refused = shape({ target: text, code: text, retry_s: int, ref: hex });
/** A *refused* is the one with `code`. */
export const result = (value) => ('code' in value ? refused : granted)(value);

export function writeResult(one) {
    if ('code' in one) {
        const { target, code, retry_s, ref } = one;
        return { target, code, retry_s, ref };
    }
    const { target, uid, credential, session_key, ttl_s, flags, kvno, scopes, notes, subject: who, demands } = one;
    const written = notes.map(({ field, cause, index }) => [field, cause, index]);
    return {
        target,
        uid,
        credential,
        session_key,
        ttl_s,
        flags,
        kvno,
        scopes,
        notes: written,
        subject: writeSubject(who),
        demands,
    };
}

export function writeWant({ target, realm, kind, scopes, ttl_s, flags, limits }) {
    return { target: `${target}@${realm}`, kind, scopes, ttl_s, flags, limits };
}

const accessFields = shape({
    now: int,
    method: nullable(text),
    path: nullable(text),
    peer: nullable(text),
    channel: nullable(hex),
    app: maybe(map(hex)),
});
/** Facts for caveats: a registered rule allows the one payload. */
export const access = (value) => {
    const { app = new Map(), ...facts } = accessFields(value);
    const rules = [...app].map(([name, payload]) => [
        name,
        (given) => (given.equals(payload) ? null : 'another payload'),
    ]);
    return { ...facts, app: new Map(rules) };
};

const pathRule = shape({
    deny_via: maybe(listOf(text)),
    require_via: maybe(listOf(text)),
    max_depth: maybe(int),
    callbacks: maybe(int),
});
export const rule = (value) => {
    const { callbacks = 0, ...rest } = pathRule(value);
    return { ...rest, callbacks: callbacks === 1 };
};

export const handed = shape({
    ticket: hex,
    caveats: listOf(hex),
    tail: hex,
    target: text,
    target_uid: int,
    client: text,
    scopes: listOf(text),
    expires: int,
    ttl_s: int,
    subject: nullable(subject),
    demands: listOf(hex),
});

export const fieldList = listOf(tuple(text, hex));
