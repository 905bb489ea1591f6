// Operations of tests/vectors/README.md: primitives, keys and key files.

import { createCipheriv, createHmac } from 'node:crypto';

import { KeyFile, roleKeys } from '../key_files.mjs';
import { derive, digest, mac, open, prf, seal } from '../keys.mjs';
import { decode, encode } from '../msgpack.mjs';
import { checkedName, checkedScope, scopeSet } from '../names.mjs';
import { rootFields } from './shapes.mjs';
import { hex, int, item, jsonItem, list, text, writes } from './types.mjs';

// `ext` of the records is read and not kept.
const withoutExt = (file) => new KeyFile(file.records.map((record) => ({ ...record, ext: new Map() })));

const describe = (file) => ({
    principal: file.principal,
    uid: file.uid,
    kvnos: [...new Set(file.records.map(({ kvno }) => kvno))].sort((one, other) => one - other),
    verify_only: file.verifyOnly,
    kids: file.records.map(({ kid }) => kid),
    file: withoutExt(file).serialise(),
    text: withoutExt(file).text(),
});

export const primitives = {
    'hmac-sha512': [
        { key: hex, message: hex },
        ({ key, message }) => ({ output: createHmac('sha512', key).update(message).digest() }),
    ],
    'hkdf-expand-sha512': [
        { prk: hex, info: hex, size: int },
        ({ prk, info, size }) => ({
            output: createHmac('sha512', prk).update(info).update(Buffer.of(1)).digest().subarray(0, size),
        }),
    ],
    'aes-256-gcm': [
        { key: hex, nonce: hex, plaintext: hex },
        ({ key, nonce, plaintext }) => {
            const cipher = createCipheriv('aes-256-gcm', key, nonce);
            return { sealed: Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]) };
        },
    ],
    digest: [{ data: hex }, ({ data }) => ({ output: digest(data) })],
    prf: writes({ key: hex, label: text, message: hex }, ({ key, label, message }) => ({
        output: prf(key, label, message),
    })),
    derive: writes({ key: hex, label: text, context: hex, size: int }, ({ key, label, context, size }) => ({
        output: derive(key, label, context, size),
    })),
    mac: writes({ key: hex, label: text, message: hex }, ({ key, label, message }) => ({
        output: mac(key, label, message),
    })),
    seal: writes(
        { key: hex, label: text, context: hex, plaintext: hex, entropy: hex },
        ({ key, label, context, plaintext, entropy }) => ({ box: seal(key, label, context, plaintext, entropy) }),
    ),
    open: [
        { key: hex, label: text, context: hex, box: hex, limit: int },
        ({ key, label, context, box, limit }) => ({ plaintext: open(key, label, context, box, limit) }),
    ],
    encode: writes({ items: list(item) }, ({ items }) => ({ bytes: encode(items) })),
    decode: [{ bytes: hex, limit: int }, ({ bytes, limit }) => ({ items: decode(bytes, limit).map(jsonItem) })],
    name: [{ text }, ({ text: name }) => ({ name: checkedName(name) })],
    scope: [{ text }, ({ text: scope }) => ({ scopes: [checkedScope(scope)] })],
    'scope-set': [{ texts: list(text) }, ({ texts }) => ({ scopes: scopeSet(texts) })],
    'role-keys': [rootFields, roleKeys],
    'key-file': [{ file: hex }, ({ file }) => describe(KeyFile.parse(file))],
    'key-text': [{ text }, ({ text: line }) => describe(KeyFile.fromText(line))],
};
