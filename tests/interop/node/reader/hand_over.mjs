// Narrowed credentials for another principal (hand_over.md).

import { MOST_FIELD, firstTail, popKey, readCaveats, writeCaveats } from './attenuation.mjs';
import { MOST_DISCHARGES, cidField } from './discharges.mjs';
import { binary, constant, list, message, optional, uint } from './fields.mjs';
import { MOST_FRAME } from './frames.mjs';
import { LEAST_BOX, derive, digest, open, seal } from './keys.mjs';
import { encode } from './msgpack.mjs';
import { name, partsOf, scopes, subject } from './names.mjs';
import { Refusal, noticedAt } from './refusal.mjs';
import { SERVICE, TYPES, checkTimes, openTicket, readHeader, ticketField } from './tickets.mjs';

const MOST_BOX = 48 * 1024;
const outer = message(
    { version: constant(1), ticket: ticketField, handed: binary(32), box: binary(LEAST_BOX, MOST_BOX) },
    MOST_FRAME,
);
const content = message({
    ticket: ticketField,
    caveats: binary(0, MOST_FIELD),
    tail: binary(32),
    target_realm: name,
    target_name: name,
    target_uid: uint,
    client_realm: name,
    client_name: name,
    scopes,
    expires: uint,
    ttl_s: uint,
    subject: optional(subject),
    demands: list(cidField, 0, MOST_DISCHARGES),
});

const keyOf = (sessionKey, ticket) => derive(popKey(firstTail(sessionKey, ticket)), 'deleg');

/** Seals `handed` from `sender` to `receiver`, under the sender's own `ticket` for it. */
export function handOver({ handed, ticket, session_key, sender, receiver, entropy }) {
    const { realm, name: from } = partsOf(sender);
    const to = partsOf(receiver).name;
    const target = partsOf(handed.target);
    const client = partsOf(handed.client);
    const bytes = content.encode({
        ...handed,
        caveats: writeCaveats(handed.caveats),
        target_realm: target.realm,
        target_name: target.name,
        client_realm: client.realm,
        client_name: client.name,
    });
    const names = digest(handed.ticket);
    // The context names both sides: one key is shared by two, and neither may send the other its own box back.
    const box = seal(keyOf(session_key, ticket), 'deleg', encode(['deleg', realm, from, to, names]), bytes, entropy);
    return outer.encode({ version: 1, ticket, handed: names, box });
}

/** Opens a hand-over as its receiver, which holds `keys` for tickets. */
export function openHandOver(bytes, keys, now) {
    const { ticket, handed, box } = outer.decode(bytes);
    const opened = openTicket(ticket, keys, SERVICE);
    checkTimes(opened, now);
    if (opened.caveats.length !== 0) throw new Refusal('caveat', 'caveat-refused');
    if (opened.subject !== null) throw new Refusal('user', 'user-not-accepted');
    const { realm, name: from } = partsOf(opened.client);
    const context = encode(['deleg', realm, from, opened.key.name, handed]);
    const inside = open(keyOf(opened.session_key, ticket), 'deleg', context, box, MOST_BOX);
    return noticedAt('body', () => {
        const { target_realm, target_name, client_realm, client_name, ...rest } = content.decode(inside);
        if (!digest(rest.ticket).equals(handed))
            throw new Refusal('box', 'box-unopened', 'another ticket than the digest names');
        if (!TYPES.includes(readHeader(rest.ticket).type)) throw new Refusal('header', 'wrong-ticket-type');
        return {
            ...rest,
            caveats: readCaveats(rest.caveats),
            target: `${target_name}@${target_realm}`,
            client: `${client_name}@${client_realm}`,
            sender: opened.client,
        };
    });
}
