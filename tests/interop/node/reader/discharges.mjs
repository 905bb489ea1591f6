// Third-party caveats: demands, what opens them, and the discharges that answer them (discharges.md).

import {
    checkCount,
    firstTail,
    nextTail,
    popKey,
    readCaveats,
    walk,
    writeCaveats,
    MOST_FIELD,
} from './attenuation.mjs';
import { EXPIRES, THIRD_PARTY, checkPlace, parseCaveat, thirdPartyCaveat, unsupported } from './caveats.mjs';
import { binary, message, text, u32, uint } from './fields.mjs';
import { derive, digest, kid, open, roleKey, same, seal } from './keys.mjs';
import { decode, encode } from './msgpack.mjs';
import { name, partsOf, principal } from './names.mjs';
import { Refusal, building, malformed, noticedAt } from './refusal.mjs';
import { SERVICE, checkTimes, openTicket, ticketField } from './tickets.mjs';

export const MOST_DISCHARGES = 4;
const MOST_CID = 4096;
const MOST_BOX = 1024;

export const cidField = binary(1, MOST_CID);

const demand = message({
    root: binary(32),
    about: principal,
    predicate: text('1 to 200 printable characters', /^[\x20-\x7e]{1,200}$/),
    expires: uint,
});
const ofHolder = message({ ticket: ticketField, box: binary(72, MOST_BOX) }, MOST_CID);
const ofKdc = message({ realm: name, name, kvno: u32, kid: binary(8), box: binary(72, MOST_BOX) }, MOST_CID);
const answer = message({ caveats: binary(0, MOST_FIELD), tail: binary(32) });
const MOST_ANSWER = MOST_FIELD + 128;

const caveatOf = ({ realm, name: own }, salt, root, cid) =>
    thirdPartyCaveat({ realm, name: own, salt, root, digest: digest(cid) });

const holderRoot = (tail, { realm, name: own }, salt) => derive(tail, '3p-root', encode([[realm, own], salt]));

/** A holder's demand behind `tail`; `ticket` and `sessionKey` are its own for the discharger. */
export function demandOfHolder({
    tail,
    ticket,
    session_key,
    adder,
    discharger,
    about,
    predicate,
    expires,
    salt,
    entropy,
}) {
    const to = partsOf(discharger);
    const from = partsOf(adder);
    const root = holderRoot(tail, to, salt);
    const key = derive(popKey(firstTail(session_key, ticket)), '3p');
    const context = encode(['3p', from.realm, from.name, to.name]);
    const box = seal(key, '3p', context, demand.encode({ root, about, predicate, expires }), entropy);
    const cid = ofHolder.encode({ ticket, box });
    return { caveat: caveatOf(to, salt, null, cid), cid, d0: dischargeTail(root, cid) };
}

/** A demand of the KDC, under the discharger's own ticket key. */
export function demandOfKdc({ discharger, root, about, predicate, expires, entropy }) {
    const { realm, name: own, kvno } = discharger;
    const role = roleKey(discharger.root, 'ticket');
    const context = encode(['3p', realm, 'kdc', own, kvno]);
    const box = seal(derive(role, '3p'), '3p', context, demand.encode({ root, about, predicate, expires }), entropy);
    const cid = ofKdc.encode({ realm, name: own, kvno, kid: kid(role), box });
    return { caveat: caveatOf(discharger, null, root, cid), cid, d0: dischargeTail(root, cid) };
}

/** `D(0)`. */
const dischargeTail = (root, cid) => derive(root, 'dis', digest(cid));
const tailOfDigest = (root, cidDigest) => derive(root, 'dis', cidDigest);

function openHolderDemand({ ticket, box }, keys, now) {
    const opened = openTicket(ticket, keys, SERVICE);
    checkTimes(opened, now);
    // The ticket must say who adds, and nothing less.
    if (opened.caveats.length !== 0) throw new Refusal('caveat', 'caveat-refused');
    if (opened.subject !== null) throw new Refusal('user', 'user-not-accepted');
    const { realm, name: adder } = partsOf(opened.client);
    const key = derive(popKey(firstTail(opened.session_key, ticket)), '3p');
    return {
        bytes: open(key, '3p', encode(['3p', realm, adder, opened.key.name]), box, MOST_BOX),
        adder: opened.client,
    };
}

function openKdcDemand(cid, keys) {
    const key = keys.find(
        (one) =>
            one.realm === cid.realm && one.name === cid.name && one.kvno === cid.kvno && same(kid(one.key), cid.kid),
    );
    if (key === undefined) throw new Refusal('kid', 'unknown-key');
    const context = encode(['3p', cid.realm, 'kdc', cid.name, cid.kvno]);
    return { bytes: open(derive(key.key, '3p'), '3p', context, cid.box, MOST_BOX), adder: null };
}

/** Opens a demand as its discharger, which holds `keys` for tickets. */
export function openDemand(cid, keys, now) {
    const count = decode(cid, MOST_CID).length;
    const opened =
        count === 2 ? openHolderDemand(ofHolder.decode(cid), keys, now) : openKdcDemand(ofKdc.decode(cid), keys);
    const content = noticedAt('body', () => demand.decode(opened.bytes));
    if (BigInt(content.expires) * 1000n <= BigInt(now))
        throw new Refusal('demand', 'discharge-refused', 'it has ended');
    return { ...content, adder: opened.adder };
}

/** A discharge of an opened demand: an end first, then further caveats of the discharger. */
export function discharge(cid, content, caveats, expires) {
    const end = expires < content.expires ? expires : content.expires;
    const all = [encode([EXPIRES, end]), ...caveats];
    return building(() => {
        judgeForm(all);
        return {
            cid_digest: digest(cid),
            caveats: writeCaveats(all),
            tail: walk(dischargeTail(content.root, cid), all).at(-1),
        };
    });
}

export function sealDischarge({ pop_key, request_digest, caveats, tail, entropy }) {
    return seal(derive(pop_key, 'dis-rep'), 'dis-rep', request_digest, answer.encode({ caveats, tail }), entropy);
}

export function openDischarge({ pop_key, request_digest, cid, box }) {
    const bytes = open(derive(pop_key, 'dis-rep'), 'dis-rep', request_digest, box, MOST_ANSWER);
    const content = answer.decode(bytes);
    if (content.caveats.length === 0) malformed('no caveats');
    judgeField(content.caveats);
    return { cid_digest: digest(cid), ...content };
}

/** The parsed caveats of a discharge whose key is right: only its discharger can be the cause of what is wrong here. */
function judgeForm(caveats) {
    const mismatch = (detail) => new Refusal('discharges', 'discharge-mismatch', detail);
    let parsed;
    try {
        parsed = caveats.map(parseCaveat);
    } catch (problem) {
        throw problem instanceof Refusal ? mismatch(problem.detail) : problem;
    }
    if (parsed.some(({ type }) => type === THIRD_PARTY)) throw mismatch('a discharge demands nothing');
    if (!parsed.some(({ type }) => type === EXPIRES)) throw mismatch('a discharge has an end');
    const unknown = parsed.find(({ known }) => !known);
    if (unknown !== undefined) throw unsupported(unknown);
    return parsed;
}

/** The same of a field as bytes. */
export function judgeField(bytes) {
    try {
        return judgeForm(readCaveats(bytes));
    } catch (problem) {
        if (problem instanceof Refusal && problem.code === 'malformed') {
            throw new Refusal('discharges', 'discharge-mismatch', problem.detail);
        }
        throw problem;
    }
}

/**
 * What a target reaches behind a ticket's caveats: K_pop before anything is mixed in, the parsed caveats, and `D(0)` of each demand,
 * the sealed ones first.
 */
export function reach(sessionKey, ticket, sealed, shown) {
    checkCount(sealed, shown);
    const demands = [];
    const parsedSealed = sealed.map(parseCaveat);
    for (const caveat of parsedSealed) {
        checkPlace(caveat, true);
        if (caveat.type === THIRD_PARTY) demands.push(tailOfDigest(caveat.value.root, caveat.value.digest));
    }
    let tail = firstTail(sessionKey, ticket);
    const parsedShown = shown.map((bytes) => {
        const caveat = parseCaveat(bytes);
        checkPlace(caveat, false);
        if (caveat.type === THIRD_PARTY) {
            demands.push(tailOfDigest(holderRoot(tail, caveat.value, caveat.value.salt), caveat.value.digest));
        }
        tail = nextTail(tail, bytes);
        return caveat;
    });
    return { pop: popKey(tail), caveats: [...parsedSealed, ...parsedShown], demands };
}
