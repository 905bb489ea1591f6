// Roles of a principal's keys, and the file that carries them (keys.md, "Roles" and "Key file").

import { constants, closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

import { binary, extensions, integer, message, optional, text, uint } from './fields.mjs';
import { derive, digest, kid, roleKey } from './keys.mjs';
import { encode } from './msgpack.mjs';
import { name } from './names.mjs';
import { Refusal, malformed, malformedMeans } from './refusal.mjs';

const MAGIC = Buffer.from('ORTHROSK\x01', 'latin1');
const END = 2;
const MOST_RECORDS = 64;
const MOST_RECORD = 2048;
const TEXT_PREFIX = 'ort1k_';
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const [ROOT, ROLE] = [0, 1];
const DERIVED = ['as', 'ticket', 'sync'];

const keyRecord = message(
    {
        realm: name,
        name,
        uid: uint,
        kvno: integer(1, 0xffffffff),
        kind: integer(ROOT, ROLE),
        role: optional(text('a role', /^(?:as|ticket|sync)$/)),
        kid: binary(8),
        key: binary(32),
        not_before: uint,
        ext: extensions(),
    },
    MOST_RECORD,
);

function readRecord(bytes) {
    const record = keyRecord.decode(bytes);
    if ((record.kind === ROOT) !== (record.role === null)) malformed('a root has no role, a role key has one');
    if (!kid(record.key).equals(record.kid)) malformed('the id is not that of the key');
    return record;
}

// A record's own id, and those of what derives from it.
const idsOf = ({ kind, key }) => [key, ...(kind === ROOT ? DERIVED.map((role) => roleKey(key, role)) : [])].map(kid);

function checkTogether(records) {
    if (records.length === 0 || records.length > MOST_RECORDS) malformed(`1 to ${MOST_RECORDS} records`);
    const [first] = records;
    if (records.some((one) => one.realm !== first.realm || one.name !== first.name || one.uid !== first.uid)) {
        malformed('records of two principals');
    }
    const ids = records.flatMap(idsOf).map((id) => id.toString('hex'));
    if (new Set(ids).size !== ids.length) malformed('two keys with one id');
}

function split(file) {
    const end = file.length - 32;
    if (end < MAGIC.length + END || !file.subarray(0, MAGIC.length).equals(MAGIC)) malformed('not a key file');
    if (!digest(file.subarray(0, end)).equals(file.subarray(end))) malformed('the hash is wrong');
    const records = [];
    let at = MAGIC.length;
    for (;;) {
        if (end - at < 2) malformed('no end mark');
        const size = file.readUInt16BE(at);
        at += 2;
        if (size === 0) break;
        if (size > MOST_RECORD || size > end - at) malformed('a record that does not fit');
        records.push(file.subarray(at, at + size));
        at += size;
    }
    if (at !== end) malformed('bytes behind the end mark');
    return records;
}

/** The keys of one principal, each for its one use. */
export class KeyFile {
    constructor(records) {
        checkTogether(records);
        this.records = records;
        const [{ realm, name: own, uid }] = records;
        Object.assign(this, { realm, name: own, uid, principal: `${own}@${realm}` });
    }

    static parse(file) {
        return malformedMeans('key-file', 'key-file-invalid', () => new KeyFile(split(file).map(readRecord)));
    }

    /** The key file at `path`: a plain file of this user, without permissions for others. */
    static load(path) {
        const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
        try {
            const status = fstatSync(descriptor);
            if (!status.isFile() || status.uid !== process.geteuid() || (status.mode & 0o077) !== 0) {
                throw new Refusal('key-file', 'key-file-unsafe', path);
            }
            return KeyFile.parse(readFileSync(descriptor));
        } finally {
            closeSync(descriptor);
        }
    }

    static fromText(line) {
        return KeyFile.parse(malformedMeans('key-file', 'key-file-invalid', () => fromBase32(line)));
    }

    serialise() {
        const records = this.records.map((record) => {
            const bytes = keyRecord.encode(record);
            return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
        });
        const head = Buffer.concat([MAGIC, ...records, Buffer.alloc(END)]);
        return Buffer.concat([head, digest(head)]);
    }

    text() {
        return TEXT_PREFIX + toBase32(this.serialise());
    }

    get verifyOnly() {
        return this.records.every(({ role }) => role === 'ticket' || role === 'sync');
    }

    /** The keys for one role, newest first, as `{ key, kid, kvno }`. */
    keys(role) {
        return this.records
            .flatMap(({ kind, key, kvno, role: own }) => {
                if (kind === ROOT) return [{ key: roleKey(key, role), kvno }];
                return own === role ? [{ key, kvno }] : [];
            })
            .map(({ key, kvno }) => ({ key, kid: kid(key), kvno }))
            .sort((one, other) => other.kvno - one.kvno);
    }

    /** What opens tickets for this principal: what `openTicket` takes. */
    ticketKeys() {
        const { realm, name: own, uid } = this;
        return this.keys('ticket').map(({ key, kvno }) => ({ key, type: 2, realm, name: own, uid, kvno }));
    }
}

function toBase32(bytes) {
    let text32 = '';
    let [bits, value] = [0, 0];
    for (const byte of bytes) {
        value = ((value << 8) | byte) & 0xfff;
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            text32 += BASE32[(value >> bits) & 31];
        }
    }
    return bits === 0 ? text32 : text32 + BASE32[(value << (5 - bits)) & 31];
}

function fromBase32(line) {
    if (!line.startsWith(TEXT_PREFIX)) malformed('no text form of a key file');
    const bytes = [];
    let [bits, value] = [0, 0];
    for (const letter of line.slice(TEXT_PREFIX.length)) {
        const five = BASE32.indexOf(letter);
        if (five < 0) malformed('a letter that is not of base32');
        value = ((value << 5) | five) & 0xfff;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            bytes.push((value >> bits) & 0xff);
        }
    }
    // Five left-over bits would be a letter too many; those that do not fill a byte are zero.
    if (bits >= 5 || (value & ((1 << bits) - 1)) !== 0) malformed('stray bits');
    return Buffer.from(bytes);
}

/** What a root makes: every derived key and its id. */
export function roleKeys({ root, realm, name: own, uid, kvno }) {
    const role = (which) => {
        const key = roleKey(root, which);
        return { key, kid: kid(key) };
    };
    const [as, ticket, sync] = DERIVED.map(role);
    if (!(kvno >= 1 && kvno <= 0xffffffff)) throw new Refusal('build', 'value-invalid', 'a kvno is 1 to 2^32 - 1');
    const header = Buffer.concat([Buffer.of(1, 1, 2), uint32(kvno), ticket.kid]);
    return {
        root_kid: kid(root),
        as: { ...as, reply_key: derive(as.key, 'as-rep'), error_key: derive(as.key, 'as-err') },
        ticket: {
            ...ticket,
            box_key: derive(ticket.key, 'ticket.2'),
            header,
            context: encode([header, realm, own, uid]),
        },
        sync,
    };
}

function uint32(value) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
}
