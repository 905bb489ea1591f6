// Tickets: clear header, sealed body, the KDC's mark, times (ticket.md).

import { MOST_FIELD, readCaveats, writeCaveats } from './attenuation.mjs';
import { binary, constant, extensions, integer, message, optional, u32, uint } from './fields.mjs';
import { derive, kid, mac, open, same, seal } from './keys.mjs';
import { decode, encode } from './msgpack.mjs';
import { chainIn, checkCritical, checkFlags, name, partsOf, scopes, subjectIn } from './names.mjs';
import { Refusal, malformed, noticedAt } from './refusal.mjs';

export const TGT = 1;
export const SERVICE = 2;
export const TYPES = [1, 2, 3];
export const INITIAL = 1;
export const DELEGABLE = 2;
const LEAST_TICKET = 16;
const MOST_TICKET = 8192;
export const MOST_LIFE = 86_400;
const HEADER = 15;
const MARK = 16;

/** A ticket as it stands in a message. */
export const ticketField = binary(LEAST_TICKET, MOST_TICKET);

const bodyIn = (home) => message({
    version: constant(1),
    tid: binary(16),
    crealm: name,
    cname: name,
    client_uid: uint,
    session_key: binary(32),
    iat: uint,
    exp: uint,
    auth_time: uint,
    ckid: binary(8),
    flags: u32,
    scopes,
    caveats: binary(0, MOST_FIELD),
    chain: chainIn(home),
    subject: optional(subjectIn(home)),
    txn: binary(16),
    crit: extensions(),
    opt: extensions(),
    mac_no: integer(1, 0xffffffff),
    kmac: binary(MARK),
});

/** The clear header of a ticket that is sealed with this key. */
export function headerOf({ key, type, kvno }) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(kvno);
    return Buffer.concat([Buffer.of(1, 1, type), number, kid(key)]);
}

const contextOf = (header, { realm, name: own, uid }) => encode([header, realm, own, uid]);
const markedOf = (header, key, items) => Buffer.concat([header, encode([key.realm, key.name, key.uid]), items]);
// enc(items 0..18) is the body with another count in front and without the mark behind: 18 bytes, `c4 10` and the mark.
const unmarked = (bytes) => Buffer.concat([Buffer.of(0xdc, 0x00, 0x13), bytes.subarray(3, -(MARK + 2))]);

const MOST_BODY = MOST_TICKET - HEADER;

/** Version, suite and type of the clear header, and whose key it names. */
export function readHeader(ticket) {
    return noticedAt('header', () => {
        if (ticket.length < LEAST_TICKET || ticket.length > MOST_TICKET) malformed('a ticket has 16 to 8192 bytes');
        if (ticket[0] !== 1 || ticket[1] !== 1) malformed('another version or suite');
        return { type: ticket[2], kvno: ticket.readUInt32BE(3), kid: ticket.subarray(7, HEADER), header: ticket.subarray(0, HEADER) };
    });
}

/** Refuses a ticket of another type. */
export function checkType(ticket, type) {
    if (readHeader(ticket).type !== type) throw new Refusal('header', 'wrong-ticket-type');
}

/** The one of these keys that the header names. No other key is tried. */
export function keyFor(ticket, keys) {
    const { header, kid: wanted } = readHeader(ticket);
    const found = keys.find(({ key }) => same(kid(key), wanted));
    if (found === undefined || !headerOf(found).equals(header)) throw new Refusal('kid', 'unknown-key');
    return found;
}

/**
 * Opens a ticket with a key that `keyFor` chose: `{ key, type, realm, name, uid, kvno }`.
 * The caveats of the body stay bytes; `bytes` is the body as it was sealed.
 */
export function openWith(ticket, key) {
    const header = ticket.subarray(0, HEADER);
    const bytes = open(
        derive(key.key, `ticket.${key.type}`),
        'ticket',
        contextOf(header, key),
        ticket.subarray(HEADER),
        MOST_BODY,
    );
    return noticedAt('body', () => {
        const fields = bodyIn(name.read(decode(bytes, MOST_BODY)[2])).decode(bytes);
        const caveats = readCaveats(fields.caveats);
        noticedInBody(() => {
            checkFlags(fields.flags, INITIAL | DELEGABLE);
            checkCritical(fields.crit);
        });
        const { crealm, cname, ...rest } = fields;
        return { ...rest, caveats, client: `${cname}@${crealm}`, key, header, bytes };
    });
}

// Its sealer vouches for what is in a ticket, so what is critical there is judged with its shape.
function noticedInBody(work) {
    try {
        work();
    } catch (problem) {
        throw problem instanceof Refusal ? new Refusal('body', problem.code, problem.detail) : problem;
    }
}

/** Opens a ticket of this type with the one of these keys that it names. */
export function openTicket(ticket, keys, type) {
    checkType(ticket, type);
    return openWith(ticket, keyFor(ticket, keys));
}

/** Refuses a ticket that the KDC did not issue in this form. `macKeys` maps numbers to keys. */
export function checkMark(opened, macKeys) {
    const altered = () => new Refusal('kdc-mark', 'ticket-altered');
    const key = macKeys.get(opened.mac_no);
    if (key === undefined) throw altered();
    const mark = mac(key, 'ticket', markedOf(opened.header, opened.key, unmarked(opened.bytes))).subarray(0, MARK);
    if (!same(mark, opened.kmac)) throw altered();
}

/** Seals a ticket, as the KDC does. */
export function sealTicket(fields, key, { mac_no, mac_key, entropy }) {
    const { realm: crealm, name: cname } = partsOf(fields.client);
    const header = headerOf(key);
    const whole = {
        subject: null,
        chain: [],
        crit: new Map(),
        opt: new Map(),
        ...fields,
        version: 1,
        crealm,
        cname,
        caveats: writeCaveats(fields.caveats ?? []),
        mac_no,
        kmac: Buffer.alloc(MARK),
    };
    const body = bodyIn(crealm);
    const kmac = mac(mac_key, 'ticket', markedOf(header, key, unmarked(body.encode(whole)))).subarray(0, MARK);
    const bytes = body.encode({ ...whole, kmac });
    const ticket = Buffer.concat([
        header,
        seal(derive(key.key, `ticket.${key.type}`), 'ticket', contextOf(header, key), bytes, entropy),
    ]);
    if (ticket.length > MOST_TICKET) malformed('a ticket that is too large');
    return ticket;
}

/** Refuses a ticket whose times do not hold at `now`, in milliseconds; the whole second counts. */
export function checkTimes({ iat, exp }, now, maximum = MOST_LIFE) {
    const second = BigInt(now) / 1000n;
    const refuse = (code) => {
        throw new Refusal('ticket-times', code);
    };
    if (!(exp > second)) refuse('ticket-expired');
    if (iat > exp || BigInt(exp) - BigInt(iat) > BigInt(Math.min(maximum, MOST_LIFE))) refuse('ticket-times-invalid');
    if (iat > second + 300n) refuse('ticket-times-invalid');
}
