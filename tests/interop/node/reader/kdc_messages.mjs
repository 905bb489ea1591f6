// What both exchanges with the KDC share: a body under a MAC, and replies in boxes (as_exchange.md, tgs_exchange.md).

import { nameOfCode, numberOfCode } from './codes.mjs';
import { binary, constant, extensions, integer, message, optional, text, u16, u32, uint } from './fields.mjs';
import { MOST_FRAME } from './frames.mjs';
import { derive, digest, open, seal } from './keys.mjs';
import { Refusal, malformed, noticedAt } from './refusal.mjs';

export const [REPLY, ERROR, NAK] = [0, 1, 2];
const MOST_ERROR = 4096;

/** `detail` of a refusal: 1 to 200 printable ASCII characters, or nil. */
export const detail = optional(text('1 to 200 printable characters', /^[\x20-\x7e]{1,200}$/));

/** `enc(body, mac32)` in at most `limit` bytes, with a body of at most `most`. */
export const signed = (most, limit) => message({ body: binary(0, most), mac: binary(32) }, limit);

const boxed = message({ version: constant(1), kind: integer(REPLY, ERROR), box: binary(0, MOST_FRAME) }, MOST_FRAME);
const nak = message({ version: constant(1), kind: constant(NAK), ref: binary(8) }, MOST_FRAME);
const error = message({ code: u16, kdc_time: uint, retry_s: u32, detail, opt: extensions() });

// Replies are told apart by their second item, which stands at a fixed place.
const isNak = (bytes) => bytes.length > 2 && bytes[2] === NAK;

/** Seals a reply or a refusal under `key`, for one request. */
export function sealReply({ key, name, request, plaintext, entropy }) {
    return boxed.encode({ version: 1, kind: REPLY, box: sealAs(`${name}-rep`, key, request, plaintext, entropy) });
}

export function sealError({ key, name, request, code, kdc_time, retry_s, detail: words, entropy }) {
    const plaintext = error.encode({
        code: numberOfCode(code),
        kdc_time,
        retry_s,
        detail: words || null,
        opt: new Map(),
    });
    return boxed.encode({ version: 1, kind: ERROR, box: sealAs(`${name}-err`, key, request, plaintext, entropy) });
}

const sealAs = (label, key, request, plaintext, entropy) =>
    seal(derive(key, label), label, digest(request), plaintext, entropy);

/** A refusal that the peer has proven. */
export class RefusedByPeer extends Refusal {
    constructor(code, told) {
        super('refused-by-peer', code, told.detail ?? '');
        Object.assign(this, { told });
    }
}

/** The plaintext of a reply to `request`; a refusal of the KDC is thrown. */
export function openReply(bytes, { key, name, request }) {
    if (bytes.length > MOST_FRAME) malformed('more than a frame');
    if (isNak(bytes)) {
        const { ref } = nak.decode(bytes);
        throw new Refusal('nak', 'unauthenticated-refusal', `reference ${ref.toString('hex')}`);
    }
    const { kind, box } = boxed.decode(bytes);
    if (kind === REPLY) return opened(`${name}-rep`, key, request, box, MOST_FRAME);
    if (box.length > MOST_ERROR) malformed('a sealed refusal that is too large');
    const told = noticedAt('body', () => error.decode(opened(`${name}-err`, key, request, box, MOST_ERROR)));
    throw new RefusedByPeer(nameOfCode(told.code), told);
}

function opened(label, key, request, box, limit) {
    try {
        return open(derive(key, label), label, digest(request), box, limit);
    } catch (problem) {
        // A reply that does not open is no reply to this request. The client learns no more than that.
        throw problem instanceof Refusal ? new Refusal('box', 'reply-mismatch') : problem;
    }
}
