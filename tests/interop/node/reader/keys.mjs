// One PRF, one box, and the key ids made of them (keys.md).

import { createCipheriv, createDecipheriv, createHash, createHmac, timingSafeEqual } from 'node:crypto';

import { Refusal } from './refusal.mjs';

const PREFIX = Buffer.from('orthros1\0', 'latin1');
const LABEL = /^[a-z0-9.-]{1,40}$/;
const NONCE = Buffer.alloc(12);
const [SALT, COMMITMENT, TAG] = [24, 32, 16];

export const LEAST_BOX = SALT + COMMITMENT + TAG;

const EMPTY = Buffer.alloc(0);

function checked(key, label) {
    // HMAC pads short keys and hashes long ones, so keys of other lengths would collide.
    if (key.length !== 32) throw new Refusal('build', 'key-misuse', 'a key has exactly 32 bytes');
    if (!LABEL.test(label)) throw new Refusal('build', 'value-invalid', `not a label: ${label}`);
}

/** `F(k, label, m)`: 64 bytes. */
export function prf(key, label, data) {
    checked(key, label);
    return createHmac('sha512', key).update(PREFIX).update(label, 'latin1').update('\0').update(data).digest();
}

/** `KD(k, label, ctx, n)`. */
export function derive(key, label, context = EMPTY, size = 32) {
    if (size < 1 || size > 64) throw new Refusal('build', 'value-invalid', 'a derived key has 1 to 64 bytes');
    return prf(key, `k.${label}`, Buffer.concat([Buffer.of(size >> 8, size & 0xff), context, Buffer.of(1)])).subarray(
        0,
        size,
    );
}

/** `MAC(k, label, m)`: 32 bytes. */
export function mac(key, label, data) {
    return prf(key, `m.${label}`, data).subarray(0, 32);
}

/** `H(b)`: SHA-256. */
export function digest(data) {
    return createHash('sha256').update(data).digest();
}

/** Whether two MACs, commitments or keys are the same, in constant time. */
export function same(one, other) {
    return one.length === other.length && timingSafeEqual(one, other);
}

/** Refuses unless `given` is the MAC of `data`. */
export function checkMac(key, label, data, given) {
    if (!same(mac(key, label, data), given)) throw new Refusal('mac', 'wrong-mac');
}

/** `kid(K)`: eight bytes that name a role key. */
export function kid(key) {
    return derive(key, 'kid', EMPTY, 8);
}

function boxKeys(key, label, context, salt) {
    const okm = prf(key, `b.${label}`, Buffer.concat([salt, digest(context), Buffer.of(1)]));
    return { key: okm.subarray(0, 32), commitment: okm.subarray(32) };
}

export function seal(key, label, context, plaintext, entropy) {
    if (entropy.length !== SALT) throw new Refusal('build', 'value-invalid', 'a box takes 24 bytes of entropy');
    const salt = prf(key, `s.${label}`, Buffer.concat([entropy, digest(context), digest(plaintext)])).subarray(0, SALT);
    const keys = boxKeys(key, label, context, salt);
    const cipher = createCipheriv('aes-256-gcm', keys.key, NONCE);
    return Buffer.concat([salt, keys.commitment, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The plaintext of a box of at most `limit` bytes. All failures are one, without detail. */
export function open(key, label, context, box, limit) {
    const unopened = () => new Refusal('box', 'box-unopened');
    if (box.length < LEAST_BOX || box.length > limit) throw unopened();
    const keys = boxKeys(key, label, context, box.subarray(0, SALT));
    if (!same(keys.commitment, box.subarray(SALT, SALT + COMMITMENT))) throw unopened();
    const decipher = createDecipheriv('aes-256-gcm', keys.key, NONCE, { authTagLength: TAG });
    decipher.setAuthTag(box.subarray(-TAG));
    try {
        return Buffer.concat([decipher.update(box.subarray(SALT + COMMITMENT, -TAG)), decipher.final()]);
    } catch {
        throw unopened();
    }
}

/** The role keys of a root, and their ids. */
export const roleKey = (root, role) => derive(root, `role.${role}`);
