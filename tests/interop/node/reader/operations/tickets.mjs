// Operations of tests/vectors/README.md: tickets, caveats, and authority that narrows and travels.

import { mix, popKey, readCaveats, tails } from '../attenuation.mjs';
import { APP, THIRD_PARTY, parseCaveat, unsupported } from '../caveats.mjs';
import { carried, checkLimits } from '../carrying.mjs';
import { checkPath, mixProof, proofOf } from '../chains.mjs';
import {
    demandOfHolder,
    demandOfKdc,
    discharge,
    judgeField,
    openDemand,
    openDischarge,
    sealDischarge,
} from '../discharges.mjs';
import { handOver, openHandOver } from '../hand_over.mjs';
import { judge } from '../judging.mjs';
import { roleKey } from '../keys.mjs';
import { checkFlags } from '../names.mjs';
import { Refusal } from '../refusal.mjs';
import { EXACT, WANT_DELEGABLE } from '../tgs_exchange.mjs';
import { DELEGABLE, INITIAL, SERVICE, TYPES, checkMark, openTicket, readHeader, sealTicket } from '../tickets.mjs';
import { access, handed, macKeys, root, rule, sealer, ticketFields, writeSubject, writeTicket } from './shapes.mjs';
import { hex, int, list, text, writes } from './types.mjs';

/** The ticket keys of the one principal of a vector. */
export const keysOf = ({ root: secret, realm, name, uid, kvno }) => [
    { key: roleKey(secret, 'ticket'), type: SERVICE, realm, name, uid, kvno },
];

const WRITERS = new Map([
    [THIRD_PARTY, ({ realm, name, salt, root: sealed, digest }) => [`${name}@${realm}`, salt, sealed, digest]],
    [APP, ({ name, payload }) => [name, payload]],
]);

function describeCaveat(bytes) {
    const caveat = parseCaveat(bytes);
    if (!caveat.known) throw unsupported(caveat);
    const write = WRITERS.get(caveat.type) ?? ((value) => value);
    return { type: caveat.type, value: write(caveat.value) };
}

const demandFields = { about: text, predicate: text, expires: int, entropy: hex };
const openTicketOf = ({ ticket, key }) => openTicket(ticket, [key], key.type);

function headerOf(ticket) {
    const { type, kvno, kid } = readHeader(ticket);
    if (!TYPES.includes(type)) throw new Refusal('header', 'wrong-ticket-type');
    return { type, kvno, kid };
}

const FLAGS = { ticket: { initial: INITIAL, delegable: DELEGABLE }, want: { exact: EXACT, delegable: WANT_DELEGABLE } };

function namesOf(flags, known) {
    checkFlags(
        flags,
        Object.values(known).reduce((all, bit) => all | bit, 0),
    );
    return Object.keys(known).filter((name) => (flags & known[name]) !== 0);
}

export const tickets = {
    ticket: writes(
        { sealed_with: sealer, mac_no: int, mac_key: hex, fields: ticketFields, entropy: hex },
        ({ sealed_with: key, fields, ...mark }) => ({ ticket: sealTicket(fields, key, mark) }),
    ),
    'open-ticket': [{ ticket: hex, key: sealer }, (given) => writeTicket(openTicketOf(given))],
    'kdc-mark': [
        { ticket: hex, key: sealer, mac_keys: macKeys },
        (given) => {
            const opened = openTicketOf(given);
            checkMark(opened, given.mac_keys);
            return writeTicket(opened);
        },
    ],
    'ticket-header': [{ ticket: hex }, ({ ticket }) => headerOf(ticket)],
    flags: [{ of: text, flags: int }, ({ of, flags }) => ({ names: namesOf(flags, FLAGS[of]) })],
    chain: writes({ session_key: hex, ticket: hex, caveats: list(hex) }, ({ session_key, ticket, caveats }) => {
        const all = tails(session_key, ticket, caveats);
        return { tails: all, pop_key: popKey(all.at(-1)) };
    }),
    caveat: [{ caveat: hex }, ({ caveat }) => describeCaveat(caveat)],
    'judge-caveat': [
        { caveat: hex, access },
        ({ caveat, access: facts }) => {
            judge(parseCaveat(caveat), facts);
            return { holds: 1 };
        },
    ],
    carry: [{ caveats: list(hex), of_tgt: int }, ({ caveats, of_tgt }) => carried(caveats, of_tgt === 1)],
    limits: [
        { caveats: list(hex) },
        ({ caveats }) => {
            checkLimits(caveats);
            return {};
        },
    ],
    mix: writes({ pop_key: hex, tails: list(hex) }, ({ pop_key, tails: given }) => ({ key: mix(pop_key, given) })),
    'demand-of-holder': writes(
        { tail: hex, ticket: hex, session_key: hex, adder: text, discharger: text, salt: hex, ...demandFields },
        demandOfHolder,
    ),
    'demand-of-kdc': writes({ discharger: root, root: hex, ...demandFields }, demandOfKdc),
    'open-demand': [
        { cid: hex, discharger: root, now: int },
        ({ cid, discharger, now }) => openDemand(cid, keysOf(discharger), now),
    ],
    discharge: [
        { cid: hex, discharger: root, now: int, expires: int, caveats: list(hex) },
        ({ cid, discharger, now, expires, caveats }) =>
            discharge(cid, openDemand(cid, keysOf(discharger), now), caveats, expires),
    ],
    'judge-discharge': [
        { caveats: hex },
        ({ caveats }) => {
            judgeField(caveats);
            return { caveats: readCaveats(caveats).length };
        },
    ],
    'seal-discharge': writes({ pop_key: hex, request_digest: hex, caveats: hex, tail: hex, entropy: hex }, (given) => ({
        box: sealDischarge(given),
    })),
    'open-discharge': [{ pop_key: hex, request_digest: hex, cid: hex, box: hex }, openDischarge],
    'hand-over': writes(
        { handed, ticket: hex, session_key: hex, sender: text, receiver: text, entropy: hex },
        (given) => ({ message: handOver(given) }),
    ),
    'open-hand-over': [
        { message: hex, receiver: root, now: int },
        ({ message, receiver, now }) => {
            const opened = openHandOver(message, keysOf(receiver), now);
            return { ...opened, subject: writeSubject(opened.subject) };
        },
    ],
    evidence: writes({ evidence: hex, session_key: hex, pop_key: hex }, ({ evidence, session_key, pop_key }) => {
        const proof = proofOf(session_key, evidence);
        return { proof, key: mixProof(pop_key, proof) };
    }),
    path: [
        { path: list(text), target: text, rule },
        ({ path, target, rule: given }) => {
            checkPath(path, target, given);
            return {};
        },
    ],
};
