// The AP exchange (ap_exchange.md): a service ticket and a fresh authenticator for one endpoint and payload.

import { MOST_FIELD, mix, popKey, readCaveats, tails, writeCaveats } from './attenuation.mjs';
import { narrowedScopes, unsupported } from './caveats.mjs';
import { checkPath, pathOf } from './chains.mjs';
import { nameOfCode, numberOfCode, travelling } from './codes.mjs';
import { MOST_DISCHARGES, judgeField, reach } from './discharges.mjs';
import { binary, constant, extensions, integer, list, message, optional, text, u16, u32, uint } from './fields.mjs';
import { factsOfUse, judge } from './judging.mjs';
import { RefusedByPeer, detail } from './kdc_messages.mjs';
import { checkMac, derive, digest, mac, same } from './keys.mjs';
import { encode } from './msgpack.mjs';
import { checkCritical, checkFlags, user } from './names.mjs';
import { Refusal, malformed, noticedAt } from './refusal.mjs';
import { checkAdmission } from './replay.mjs';
import { MOST_LIFE, SERVICE, checkTimes, openTicket, ticketField } from './tickets.mjs';

export const [RAW, HTTP, CHANNEL, KDC] = [0, 1, 2, 3];
const SAFE = 1;
export const MOST_REQUEST = 24 * 1024;
const LEAST_ANSWER_BODY = 4;
export const MOST_ANSWER_BODY = 4096;
/** What a refusal carries that names no replay instance. */
export const NO_EPOCH = Buffer.alloc(8);

const request = message({ body: binary(0, MOST_REQUEST), mac: binary(32) }, MOST_REQUEST);
const body = message({
    version: constant(1),
    kind: constant(3),
    use: integer(RAW, KDC),
    ticket: ticketField,
    caveats: binary(0, MOST_FIELD),
    discharges: list(binary(0, MOST_FIELD), 0, MOST_DISCHARGES),
    ts: uint,
    nonce: binary(16),
    epoch: optional(binary(8)),
    flags: u32,
    bind: optional(binary(32)),
    user: optional(user),
    crit: extensions(),
    opt: extensions(),
});

const answer = message({ body: binary(0, MOST_ANSWER_BODY), mac: binary(32) });
const replyBody = message(
    { version: constant(1), nonce: binary(16), ts: uint, epoch: binary(8), flags: u32, opt: extensions() },
    MOST_ANSWER_BODY,
);
const errorBody = message(
    { version: constant(1), code: u16, ts: uint, epoch: binary(8), detail, opt: extensions() },
    MOST_ANSWER_BODY,
);

const endpointText = text('1 to 255 printable characters', /^[\x20-\x7e]{1,255}$/);
const channelBinding = optional(binary(0, 4096));

/** `bind32` of profile raw/1. */
export function bindRaw(endpoint, payload, binding = null) {
    return digest(encode(['raw/1', endpointText.write(endpoint), channelBinding.write(binding), digest(payload)]));
}

/** An AP-REQ of a holder of `ticket`, and what is needed to read the answer. */
export function apRequest({
    ticket,
    session_key,
    caveats = [],
    discharges = [],
    use,
    ts,
    nonce,
    epoch,
    flags = 0,
    bind,
    user: who = null,
}) {
    if (bind === null && use !== CHANNEL) malformed('a bind is required outside a channel');
    const pop = mix(
        popKey(tails(session_key, ticket, caveats).at(-1)),
        discharges.map(({ tail }) => tail),
    );
    const bytes = body.encode({
        version: 1,
        kind: 3,
        use,
        ticket,
        caveats: writeCaveats(caveats),
        discharges: discharges.map((one) => one.caveats),
        ts,
        nonce,
        epoch,
        flags,
        bind,
        user: who,
        crit: new Map(),
        opt: new Map(),
    });
    const sent = request.encode({ body: bytes, mac: mac(pop, `ap-req.${use}`, bytes) });
    return { message: sent, digest: digest(sent), pop, use, nonce, epoch };
}

/**
 * Steps 1 to 8: what a request says, once its sender has proven the ticket's key. What is refused here gets no answer.
 * `keys` are the target's for tickets.
 */
export function proveRequest(bytes, { keys, use }) {
    const { body: inside, mac: given } = request.decode(bytes);
    const fields = body.decode(inside);
    if (fields.use !== use) throw new Refusal('mac', 'wrong-mac', 'another use than the one served here');
    const ticket = openTicket(fields.ticket, keys, SERVICE);
    const reached = noticedAt('caveats', () => {
        const shown = readCaveats(fields.caveats);
        const found = reach(ticket.session_key, fields.ticket, ticket.caveats, shown);
        const count = Math.min(found.demands.length, fields.discharges.length);
        const walked = found.demands.slice(0, count).map((tail, index) => walkFrom(tail, fields.discharges[index]));
        return { ...found, pop: mix(found.pop, walked) };
    });
    checkMac(reached.pop, `ap-req.${use}`, inside, given);
    return {
        ...fields,
        ticket,
        mac: given,
        digest: digest(bytes),
        pop: reached.pop,
        caveats: reached.caveats,
        demands: reached.demands,
    };
}

const walkFrom = (tail, field) => readCaveats(field).reduce((key, caveat) => derive(key, 'cav', caveat), tail);

const refuse = (stage, code, words) => {
    throw new Refusal(stage, code, words);
};

const burn = ({ mac: proof, ts, ticket }, store) =>
    store.admit({ tag: proof.subarray(0, 16), ts, client: ticket.client, ticket: ticket.tid.toString('hex') });

/** Step 12. */
export function checkWindow(ts, now) {
    if (ts < now - 60_000 || ts > now + 5_000) refuse('window', 'clock-skew');
}

/** Step 14. */
export function checkEpoch(proven, { epoch, born }, repetition) {
    if (proven.use === CHANNEL) return;
    if (proven.epoch !== null && same(proven.epoch, epoch)) return;
    // Had it been accepted here before, it would be burnt: the memory is older than the request.
    if (repetition === 'allowed' && proven.use !== KDC && proven.ts > born + 5_000) return;
    refuse('epoch', repetition === 'declined' ? 'not-repeatable' : 'epoch-required');
}

function checkBind(proven, bind) {
    if (proven.use === CHANNEL && proven.bind === null && bind === null) return;
    if (proven.bind === null || bind === null || !same(proven.bind, bind)) refuse('bind', 'wrong-binding');
}

function checkCaveats(proven, facts) {
    if (proven.discharges.length !== proven.demands.length) refuse('discharges', 'discharge-mismatch');
    const all = [...proven.caveats, ...proven.discharges.flatMap(judgeField)];
    const unknown = all.find(({ known }) => !known);
    if (unknown !== undefined) throw unsupported(unknown);
    for (const caveat of all) judge(caveat, { ...facts, discharged: true });
    return narrowedScopes(proven.ticket.scopes, all);
}

function checkUser(proven, scopes, accepted) {
    const serves = accepted || (proven.user === null && proven.ticket.subject === null);
    const asserts = proven.user === null || scopes.includes('assert-user');
    if (!serves || !asserts) refuse('user', 'user-not-accepted');
}

/**
 * Steps 9 to 19. The situation is what the target knows by itself:
 * `store`, `bind`, `facts` of the request without `now`, `repetition` (allowed, declined or unsafe), `accept_user`, `max_life_s`, `chain`.
 * A Refusal has as `told` what an AP-ERR says of time and epoch.
 */
export function judgeRequest(proven, situation) {
    const { store, bind, facts, repetition = 'unsafe', accept_user = false, max_life_s = MOST_LIFE, chain } = situation;
    const { ticket, ts } = proven;
    if (BigInt(ts) > BigInt(ticket.exp) * 1000n)
        throw told(new Refusal('ticket-times', 'ticket-expired'), { epoch: NO_EPOCH });
    const { answer: verdict, ...instance } = burn(proven, store);
    try {
        checkAdmission(verdict);
        checkTimes(ticket, instance.now, max_life_s);
        checkWindow(ts, instance.now);
        checkFlags(proven.flags, SAFE);
        checkCritical(proven.crit);
        checkEpoch(proven, instance, repetition);
        checkBind(proven, bind);
        const scopes = checkCaveats(proven, factsOfUse(proven.use, { ...facts, now: instance.now }));
        checkPath(pathOf(ticket.key.realm, ticket.chain, ticket.client), ticket.key.name, chain);
        checkUser(proven, scopes, accept_user);
        return { client: ticket.client, scopes, proven, instance };
    } catch (problem) {
        throw problem instanceof Refusal ? told(problem, instance) : problem;
    }
}

function told(refusal, instance) {
    return Object.assign(refusal, { told: instance });
}

const answerTo = ({ use, pop, digest: requestDigest }, label, bytes) =>
    answer.encode({ body: bytes, mac: mac(pop, `${label}.${use}`, Buffer.concat([requestDigest, bytes])) });

/** The AP-REP that says: the target opened the ticket and saw this very request. */
export function apReply(proven, { now, epoch }) {
    return answerTo(
        proven,
        'ap-rep',
        replyBody.encode({ version: 1, nonce: proven.nonce, ts: now, epoch, flags: 0, opt: new Map() }),
    );
}

const [READY_IN, BEFORE_HANDLER] = [1, 2];

function writeHints({ ready_in_ms: readyIn, before_handler: early }) {
    const hints = new Map();
    if (readyIn !== null) {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(u32.write(readyIn));
        hints.set(READY_IN, bytes);
    }
    if (early) hints.set(BEFORE_HANDLER, Buffer.alloc(0));
    return hints;
}

/** What `opt` of an AP-ERR says besides. A value of another length is as unknown as another entry. */
function readHints(opt) {
    const readyIn = opt.get(READY_IN);
    return {
        ready_in_ms: readyIn?.length === 4 ? readyIn.readUInt32BE() : null,
        before_handler: opt.get(BEFORE_HANDLER)?.length === 0,
    };
}

/** An AP-ERR: its code, the target's time and epoch, words of at most 200 printable characters, and hints. */
export function writeApError(exchange, { code, now, epoch, detail: words, ...hints }) {
    const number = numberOfCode(travelling(code));
    const fields = { version: 1, code: number, ts: now, epoch, detail: words || null, opt: writeHints(hints) };
    return answerTo(exchange, 'ap-err', errorBody.encode(fields));
}

/** Hint 1 of a refusal at `now`, by an instance born at `born`, undefined where none was asked. */
export function readyIn(code, { now, born }) {
    const waits = born !== undefined && (code === 'epoch-required' || code === 'not-repeatable');
    return waits ? Math.max(0, born + 5_000 - now) : null;
}

/** The AP-ERR of a request whose MAC was right, which no handler has seen. */
export function apError(proven, code, { now = Date.now(), epoch, born }, words = '') {
    return writeApError(proven, {
        code,
        now,
        epoch,
        detail: words.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 200),
        ready_in_ms: readyIn(code, { now, born }),
        before_handler: true,
    });
}

/** The client's reading of AP-REP or AP-ERR: `{ ts, epoch }`, or what the target refused. */
export function openApReply(pending, bytes) {
    const { body: inside, mac: given } = answer.decode(bytes);
    const isMac = (label) =>
        same(mac(pending.pop, `${label}.${pending.use}`, Buffer.concat([pending.digest, inside])), given);
    if (isMac('ap-rep')) {
        const fields = replyBody.decode(inside);
        if (!same(fields.nonce, pending.nonce)) throw new Refusal('answer', 'reply-mismatch');
        checkFlags(fields.flags, 0);
        return fields;
    }
    if (!isMac('ap-err')) throw new Refusal('mac', 'wrong-mac');
    const fields = errorBody.decode(inside);
    throw new RefusedByPeer(nameOfCode(fields.code), { ...fields, ...readHints(fields.opt) });
}

/** The parts of an answer as HTTP carries them. */
export function partsOfAnswer(bytes) {
    return answer.decode(bytes);
}

/** An answer put together from its parts, if these could be one. It means nothing before its MAC. */
export function answerFromParts(inside, given) {
    if (inside.length < LEAST_ANSWER_BODY) malformed('a body of less than 4 bytes');
    return answer.encode({ body: inside, mac: given });
}
