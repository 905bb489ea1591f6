// Operations of tests/vectors/README.md: the initial, the ticket-granting and the AP exchange.

import {
    apReply,
    apRequest,
    bindRaw,
    checkWindow,
    judgeRequest,
    openApReply,
    proveRequest,
    readyIn,
    writeApError,
} from '../ap_exchange.mjs';
import { asError, asReply, asRequest, openAsReply, verifyAsRequest } from '../as_exchange.mjs';
import { nothingKnown } from '../judging.mjs';
import { RefusedByPeer } from '../kdc_messages.mjs';
import { derive, roleKey } from '../keys.mjs';
import { Refusal } from '../refusal.mjs';
import { ReplayStore, checkAdmission } from '../replay.mjs';
import { openTgsReply, tgsError, tgsReply, tgsRequest, verifyTgsRequest, wrongInWants } from '../tgs_exchange.mjs';
import * as shapes from './shapes.mjs';
import { keysOf } from './tickets.mjs';
import { bool, hex, int, list, maybe, nullable, text, tuple, writes } from './types.mjs';

const refusal = { error: maybe(text), retry_s: maybe(int), detail: maybe(text) };
const toRefusal = ({ error, ...rest }) => ({ ...rest, code: error });

function seenBehalf({ behalf, evidence, reply_key: key }) {
    if (behalf === null) return null;
    if (evidence === null) return { subject: shapes.writeSubject(behalf.subject) };
    return {
        evidence: shapes.writeTicket(evidence.evidence),
        proof: evidence.proof,
        caveats: evidence.caveats,
        reply_key: derive(key, 'tgs-rep'),
    };
}

function answered(pending, given, reply, error) {
    const { request: _request, kdc: _kdc, ...rest } = given;
    return { reply: given.error === undefined ? reply(pending, rest) : error(pending, toRefusal(rest)) };
}

// The store's clock is `now`, whatever the machine's is.
function storeAt(now, { epoch, born = 0 }) {
    const store = new ReplayStore({ epoch, born });
    return { admit: (request) => store.admit(request, now) };
}

function accept({
    target,
    now,
    use,
    bind,
    epoch,
    born,
    access = nothingKnown(now),
    chain,
    earlier,
    message,
    ...situation
}) {
    const store = storeAt(now, { epoch, born });
    const judgeOne = (bytes) =>
        judgeRequest(proveRequest(bytes, { keys: keysOf(target), use }), {
            ...situation,
            store,
            bind,
            facts: access,
            chain,
        });
    for (const bytes of earlier) {
        try {
            judgeOne(bytes);
        } catch (problem) {
            if (!(problem instanceof Refusal)) throw problem;
        }
    }
    const { client, scopes, proven, instance } = judgeOne(message);
    return { client, scopes, reply: apReply(proven, instance) };
}

const situation = {
    target: shapes.root,
    now: int,
    use: int,
    bind: nullable(hex),
    epoch: hex,
    born: maybe(int),
    repetition: maybe(text),
    accept_user: bool,
    max_life_s: int,
    access: maybe(shapes.access),
    chain: maybe(shapes.rule),
    earlier: list(hex),
    message: hex,
};

function codeOf(answer) {
    try {
        checkAdmission(answer);
    } catch (problem) {
        if (problem instanceof Refusal) return problem.code;
        throw problem;
    }
    return null;
}

// What the target tells of its own refusal.
function refusalOfTarget(given) {
    try {
        accept(given);
    } catch (problem) {
        if (!(problem instanceof Refusal)) throw problem;
        const { now, born = 0 } = given;
        return { error: problem.code, ready_in_ms: readyIn(problem.code, { now, born }) };
    }
    throw new Error('it was accepted');
}

// What the peer has proven to refuse with.
function refusalOf(read) {
    try {
        read();
    } catch (problem) {
        if (problem instanceof RefusedByPeer) return { error: problem.code, detail: '', ...dropNull(problem.told) };
        throw problem;
    }
    throw new Refusal('answer', 'reply-mismatch', 'no refusal');
}

const dropNull = ({ detail, ...told }) => (detail === null ? told : { detail, ...told });

export const exchanges = {
    'as-req': writes(shapes.asRequestFields, (given) => ({ message: asRequest(given).message })),
    'verify-as-req': [
        { client: shapes.root, message: hex },
        ({ client, message }) => {
            const { service, ts, ttl_s, nonce } = verifyAsRequest(message, client.realm, [roleKey(client.root, 'as')]);
            return { service, ts, ttl_s, nonce };
        },
    ],
    'as-rep': writes(
        {
            request: shapes.asRequest,
            kdc_time: int,
            entropy: hex,
            ticket: maybe(hex),
            session_key: maybe(hex),
            ttl_s: maybe(int),
            flags: maybe(int),
            newest_kvno: maybe(int),
            kdc_id: maybe(text),
            ...refusal,
        },
        (given) => answered(asRequest(given.request), given, asReply, asError),
    ),
    'open-as-rep': [
        { request: shapes.asRequest, reply: hex },
        ({ request, reply }) => {
            const { kdc_time, kdc_id, ticket, ttl_s, session_key, flags, newest_kvno } = openAsReply(
                asRequest(request),
                reply,
            );
            return { kdc_time, kdc_id, ticket, ttl_s, session_key, flags, newest_kvno };
        },
    ],
    'tgs-req': writes(shapes.tgsRequestFields, (given) => ({ message: tgsRequest(given).message })),
    'verify-tgs-req': [
        { kdc: shapes.kdc, message: hex },
        ({ kdc, message }) => {
            const read = verifyTgsRequest(message, kdc);
            return {
                client: read.tgt.client,
                pop_key: read.pop,
                behalf: seenBehalf(read),
                wants: read.wants.map(shapes.writeWant),
            };
        },
    ],
    'read-wants': [{ wants: hex }, ({ wants }) => ({ detail: wrongInWants(wants) })],
    'tgs-rep': writes(
        {
            request: shapes.tgsRequest,
            kdc: shapes.kdc,
            kdc_time: int,
            entropy: hex,
            kdc_id: maybe(text),
            policy_seq: maybe(int),
            results: maybe(list(shapes.result)),
            ...refusal,
        },
        (given) => answered(tgsRequest(given.request), given, tgsReply, tgsError),
    ),
    'open-tgs-rep': [
        { request: shapes.tgsRequest, reply: hex },
        ({ request, reply }) => {
            const { kdc_time, kdc_id, policy_seq, results } = openTgsReply(tgsRequest(request), reply);
            return { kdc_time, kdc_id, policy_seq, results: results.map(shapes.writeResult) };
        },
    ],
    'bind-raw': writes(
        { endpoint: text, payload: hex, channel_binding: nullable(hex) },
        ({ endpoint, payload, channel_binding }) => ({ bind: bindRaw(endpoint, payload, channel_binding) }),
    ),
    'ap-req': writes(shapes.apRequestFields, (given) => ({ message: apRequest(given).message })),
    accept: [situation, accept],
    refusal: [situation, refusalOfTarget],
    'open-ap-rep': [
        { request: shapes.apRequest, reply: hex },
        ({ request, reply }) => {
            const { ts, epoch } = openApReply(apRequest(request), reply);
            return { target_time: ts, epoch };
        },
    ],
    'ap-err': writes(
        {
            request: shapes.apRequest,
            error: text,
            detail: text,
            now: int,
            epoch: hex,
            ready_in_ms: nullable(int),
            before_handler: bool,
        },
        ({ request, error: code, ...told }) => ({ reply: writeApError(apRequest(request), { code, ...told }) }),
    ),
    'open-ap-err': [
        { request: shapes.apRequest, reply: hex },
        ({ request, reply }) => {
            const read = refusalOf(() => openApReply(apRequest(request), reply));
            const { error, ts, epoch, detail, ready_in_ms, before_handler } = read;
            return { error, target_time: ts, epoch, detail, ready_in_ms, before_handler };
        },
    ],
    'open-as-err': [
        { request: shapes.asRequest, reply: hex },
        ({ request, reply }) => {
            const { error, kdc_time, retry_s, detail } = refusalOf(() => openAsReply(asRequest(request), reply));
            return { error, kdc_time, retry_s, detail };
        },
    ],
    window: [
        { ts: int, now: int },
        ({ ts, now }) => {
            checkWindow(ts, now);
            return {};
        },
    ],
    replay: [
        { capacity: int, per_client: int, per_ticket: int, steps: list(tuple(hex, int, int, text, hex)) },
        ({ steps, ...shares }) => {
            const store = new ReplayStore({ ...shares, born: 0 });
            const answers = steps.map(([tag, ts, now, client, ticket]) => {
                const entry = { tag, ts, client, ticket: ticket.toString('hex') };
                return store.admit(entry, now).answer;
            });
            return { answers, codes: answers.map(codeOf) };
        },
    ],
};
