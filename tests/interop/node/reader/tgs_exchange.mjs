// The ticket-granting exchange (tgs_exchange.md): one TGT, 1 to 32 wants, each granted or refused on its own.

import { MOST_FIELD, popKey, readCaveats, tails, writeCaveats } from './attenuation.mjs';
import { mixProof, proofOf } from './chains.mjs';
import { nameOfCode, numberOfCode } from './codes.mjs';
import { MOST_DISCHARGES, cidField } from './discharges.mjs';
import { binary, constant, extensions, integer, list, message, optional, record, u16, u32, uint } from './fields.mjs';
import { MOST_FRAME } from './frames.mjs';
import { openReply, sealError, sealReply, signed } from './kdc_messages.mjs';
import { checkMac, mac, same } from './keys.mjs';
import { decode, encode } from './msgpack.mjs';
import { ASSERTED, checkCritical, checkFlags, name, partsOf, scopes, subject } from './names.mjs';
import { Refusal, malformed, noticedAt } from './refusal.mjs';
import {
    DELEGABLE,
    INITIAL,
    SERVICE,
    TGT,
    checkMark,
    checkType,
    keyFor,
    openTicket,
    openWith,
    ticketField,
} from './tickets.mjs';

export const [TICKET, JWT] = [0, 1];
/** Flags of a want: refuse rather than grant less; a ticket that may be shown as evidence. */
export const [EXACT, WANT_DELEGABLE] = [1, 2];
const MOST_WANTS = 32;
const MOST_EXT = 4096;
const MOST_CREDENTIAL = 8192;
const [LIMITS, DEMANDS] = [1, 1];

const request = signed(MOST_FRAME, MOST_FRAME);

const wantFields = {
    kind: integer(TICKET, JWT),
    realm: name,
    target: name,
    scopes: optional(scopes),
    ttl_s: u32,
    flags: u32,
    ext: extensions(),
};
const want = record(wantFields);
const wants = list(want, 1, MOST_WANTS);
// Of what is read before the sender has proven anything: everything but the wants.
const MOST_UNPROVEN = 16 * 1024;
const behalfRecord = record({
    evidence: optional(ticketField),
    caveats: binary(0, MOST_FIELD),
    subject: optional(subject),
});

// Evidence with its caveats and no subject, or no evidence and an asserted subject without uid.
function checkBehalf(value) {
    const { evidence, caveats, subject: who } = value;
    const onEvidence = evidence !== null && who === null;
    const onWord = evidence === null && caveats.length === 0 && who !== null && who.uid === 0 && who.how === ASSERTED;
    return onEvidence || onWord ? value : malformed('neither evidence alone nor an asserted subject alone');
}
const behalf = {
    read: (items) => checkBehalf(behalfRecord.read(items)),
    write: (value) => behalfRecord.write(checkBehalf(value)),
};

const body = message({
    version: constant(1),
    kind: constant(2),
    tgt: ticketField,
    tgt_caveats: binary(0, MOST_FIELD),
    discharges: list(binary(0, MOST_FIELD), 0, MOST_DISCHARGES),
    ts: uint,
    nonce: binary(16),
    wants: binary(1, MOST_FRAME),
    behalf: optional(behalf),
    crit: extensions(),
    opt: extensions(),
});

const note = record({ field: integer(1, 255), cause: integer(1, 255), index: optional(integer(0, 31)) });
const granted = record({
    kind: constant(0),
    realm: name,
    target: name,
    uid: uint,
    credential: binary(16, MOST_CREDENTIAL),
    session_key: optional(binary(32)),
    ttl_s: u32,
    flags: u32,
    kvno: u32,
    scopes,
    subject: optional(subject),
    notes: list(note, 0, 64),
    ext: extensions(MOST_EXT),
});
const refused = record({
    kind: constant(1),
    realm: name,
    target: name,
    code: u16,
    retry_s: u32,
    ref: binary(8),
    ext: extensions(),
});
const result = {
    read: (items) => (Array.isArray(items) && items[0] === 1 ? refused : granted).read(items),
    write: (value) => (value.kind === 1 ? refused : granted).write(value),
};
const reply = message({
    nonce: binary(16),
    kdc_time: uint,
    kdc_id: name,
    policy_seq: uint,
    results: list(result, 1, MOST_WANTS),
    opt: extensions(),
});
const demands = list(cidField, 1, MOST_DISCHARGES);

/** The caveats that the KDC shall write into the ticket. */
function limitsOf({ ext }) {
    return ext.has(LIMITS) ? readCaveats(ext.get(LIMITS)) : [];
}

const reads = (field, item) => {
    try {
        field(item);
        return true;
    } catch (problem) {
        if (problem instanceof Refusal) return false;
        throw problem;
    }
};

// The first field of a want that is wrong, null if none is.
function wrongPart(items) {
    if (!Array.isArray(items) || items.length !== Object.keys(wantFields).length) return '';
    const wrong = Object.entries(wantFields).find(([, field], index) => !reads(field.read, items[index]));
    if (wrong !== undefined) return `: ${wrong[0]}`;
    return reads((one) => limitsOf(want.read(one)), items) ? null : ': limits';
}

/** What is wrong in a bin of wants, as the refusal under seal says it; empty if nothing is. */
export function wrongInWants(bytes) {
    let items = [];
    if (!reads((one) => { items = decode(one, MOST_FRAME); }, bytes)) return 'wants';
    if (items.length < 1 || items.length > MOST_WANTS) return 'wants';
    const at = items.findIndex((one) => wrongPart(one) !== null);
    return at < 0 ? '' : `want ${at}${wrongPart(items[at])}`;
}

/** The wants in their bin, read once their sender has proven itself. */
export function readWants(bytes) {
    const wrong = wrongInWants(bytes);
    if (wrong !== '') throw new Refusal('wants', 'want-invalid', wrong);
    return wants.read(decode(bytes, MOST_FRAME)).map((one) => ({ ...one, limits: limitsOf(one) }));
}

const writeWant = ({ target, limits = [], ...rest }) => {
    const parts = partsOf(target);
    const ext = limits.length === 0 ? new Map() : new Map([[LIMITS, writeCaveats(limits)]]);
    return { ...rest, realm: parts.realm, target: parts.name, ext };
};

function writeBehalf(on) {
    if (on === null) return { behalf: null, proof: null };
    if (on.evidence === undefined) {
        return {
            behalf: {
                evidence: null,
                caveats: Buffer.alloc(0),
                subject: { principal: on.subject, uid: 0, how: ASSERTED },
            },
            proof: null,
        };
    }
    return {
        behalf: { evidence: on.evidence, caveats: writeCaveats(on.caveats), subject: null },
        proof: proofOf(on.session_key, on.evidence),
    };
}

/** A TGS-REQ, and what is needed to open the answer. The tail is that behind `caveats`. */
export function tgsRequest({ tgt, session_key, caveats = [], wants: asked, ts, nonce, behalf: on = null }) {
    const { behalf: shown, proof } = writeBehalf(on);
    const field = encode(wants.write(asked.map(writeWant)));
    const bytes = body.encode({
        version: 1,
        kind: 2,
        tgt,
        tgt_caveats: writeCaveats(caveats),
        discharges: [],
        ts,
        nonce,
        wants: field,
        behalf: shown,
        crit: new Map(),
        opt: new Map(),
    });
    if (bytes.length - field.length > MOST_UNPROVEN) malformed('too much besides the wants');
    const pop = popKey(tails(session_key, tgt, caveats).at(-1));
    const key = proof === null ? pop : mixProof(pop, proof);
    return {
        message: request.encode({ body: bytes, mac: mac(key, 'tgs-req', bytes) }),
        key,
        nonce,
        wants: asked,
        behalf: shown,
    };
}

function openEvidence(field, { evidence_keys: keys, mac_keys: macKeys }, tgt) {
    const evidence = openTicket(field.evidence, keys, SERVICE);
    checkMark(evidence, macKeys);
    // Evidence is a ticket for the client that asks, made for the name and uid of its TGT.
    if (evidence.key.uid !== tgt.client_uid || `${evidence.key.name}@${evidence.key.realm}` !== tgt.client) {
        throw new Refusal('kid', 'unknown-key');
    }
    return { evidence, proof: proofOf(evidence.session_key, field.evidence), caveats: readCaveats(field.caveats) };
}

/**
 * What a TGS-REQ asks, once its sender has proven itself. `kdc` has tgt_keys, evidence_keys and mac_keys.
 * It does not judge caveats, limits and flags of wants: that is part of the decision about each want.
 */
export function verifyTgsRequest(bytes, kdc) {
    const { body: inside, mac: given } = request.decode(bytes);
    const fields = body.decode(inside);
    if (inside.length - fields.wants.length > MOST_UNPROVEN) malformed('too much besides the wants');
    const key = keyFor(fields.tgt, kdc.tgt_keys);
    checkType(fields.tgt, TGT);
    const tgt = openWith(fields.tgt, key);
    checkMark(tgt, kdc.mac_keys);
    const shown = readCaveats(fields.tgt_caveats);
    const pop = popKey(tails(tgt.session_key, fields.tgt, shown).at(-1));
    const on = fields.behalf?.evidence ? openEvidence(fields.behalf, kdc, tgt) : null;
    const replyKey = on === null ? pop : mixProof(pop, on.proof);
    checkMac(replyKey, 'tgs-req', inside, given);
    checkCritical(fields.crit);
    if (fields.discharges.length !== 0) throw new Refusal('discharges', 'discharge-mismatch');
    return { ...fields, wants: readWants(fields.wants), tgt, pop, reply_key: replyKey, evidence: on };
}

const exchange = ({ key, message: sent }) => ({ key, name: 'tgs', request: sent });

/** Writes a TGS-REP: `results` as `openTgsReply` gives them. */
export function tgsReply(pending, { results, kdc_id, policy_seq, kdc_time, entropy }) {
    const plaintext = reply.encode({
        nonce: pending.nonce,
        kdc_time,
        kdc_id,
        policy_seq,
        results: results.map(writeResult),
        opt: new Map(),
    });
    return sealReply({ ...exchange(pending), plaintext, entropy });
}

export const tgsError = (pending, refusal) => sealError({ ...exchange(pending), ...refusal });

function writeResult(value) {
    const parts = partsOf(value.target);
    const where = { realm: parts.realm, target: parts.name };
    if (value.code !== undefined)
        return { ...value, ...where, kind: 1, code: numberOfCode(value.code), ext: new Map() };
    const cids = value.demands ?? [];
    const ext = cids.length === 0 ? new Map() : new Map([[DEMANDS, encode(demands.write(cids))]]);
    return { subject: null, ...value, ...where, kind: 0, ext };
}

const demandsOf = ({ ext }) => (ext.has(DEMANDS) ? demands.read(decode(ext.get(DEMANDS), MOST_EXT)) : []);

// An own request has no subject. Evidence has one, and an asserted subject comes back as it was asserted.
function subjectFits(field, got) {
    if (field === null) return got === null;
    if (got === null) return false;
    if (field.evidence !== null) return true;
    return got.principal === field.subject.principal && got.uid === 0 && got.how === ASSERTED;
}

function fits(asked, one, field) {
    const parts = partsOf(asked.target);
    if (one.realm !== parts.realm || one.target !== parts.name) return false;
    if (one.kind === 1) return true;
    const keyed = asked.kind === TICKET ? one.session_key !== null : one.session_key === null && one.kvno === 0;
    return keyed && subjectFits(field, one.subject);
}

function readResult(one) {
    const { realm, target, kind, ext, ...rest } = one;
    const where = { target: `${target}@${realm}` };
    if (kind === 1) return { ...where, ...rest, code: nameOfCode(one.code) };
    return { ...where, ...rest, demands: demandsOf({ ext }) };
}

/** The answer to a pending request, if it is one: `results` in the order of the wants. */
export function openTgsReply(pending, bytes) {
    const plaintext = openReply(bytes, exchange(pending));
    const { fields, results } = noticedAt('body', () => {
        const read = reply.decode(plaintext);
        return { fields: read, results: read.results.map(readResult) };
    });
    const right =
        same(fields.nonce, pending.nonce) &&
        fields.results.length === pending.wants.length &&
        fields.results.every((one, index) => fits(pending.wants[index], one, pending.behalf));
    if (!right) throw new Refusal('answer', 'reply-mismatch');
    for (const one of fields.results) if (one.kind === 0) checkFlags(one.flags, INITIAL | DELEGABLE);
    return { ...fields, results };
}
