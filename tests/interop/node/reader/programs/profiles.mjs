// node profiles.mjs: reads and writes tokens and RFC 9421 signatures. Each line in is a question, each line out an answer.

import { createInterface } from 'node:readline';

import { keyIdOf, signRequest, signatureKey, verifySignature } from '../message_signatures.mjs';
import { Refusal } from '../refusal.mjs';
import { ReplayStore } from '../replay.mjs';
import { mintToken, verifyToken } from '../tokens.mjs';

const hex = (text) => Buffer.from(text, 'hex');
const recordOf = ({ alg, kid, key }) => ({ alg, kid, key: hex(key) });
const macKeysOf = (keys) => new Map(Object.entries(keys).map(([number, key]) => [Number(number), hex(key)]));
const requestOf = ({ headers, ...rest }) => ({ ...rest, headers: headers.map(([name, value]) => [name, hex(value)]) });

// One store for the life of the process, at the clock of each question.
const store = new ReplayStore({ born: 0 });

const DEEDS = {
    read: ({ token, records, mac_keys, aud, iss, now }) =>
        verifyToken(token, { records: records.map(recordOf), mac_keys: macKeysOf(mac_keys), aud, iss, now }),

    write: ({ claims, record, number, mac_key, entropy }) =>
        mintToken(claims, recordOf(record), { mac_no: number, mac_key: hex(mac_key), entropy: hex(entropy) }),

    sign: ({ request, pop_key, ticket, ...rest }) =>
        signRequest(requestOf(request), signatureKey(hex(pop_key)), { ...rest, keyid: keyIdOf(hex(ticket)) }),

    verify({ request, pop_key, ticket, client, end, now, repeatable, ...signed }) {
        const known = { secret: signatureKey(hex(pop_key)), client, end };
        const keyOf = (keyid) => (keyid === keyIdOf(hex(ticket)) ? known : undefined);
        const clocked = { admit: (entry) => store.admit(entry, now) };
        return verifySignature(requestOf(request), signed, { keyOf, store: clocked, repeatable });
    },
};

function answer(line) {
    const { do: deed, ...given } = JSON.parse(line);
    try {
        return { done: DEEDS[deed](given) };
    } catch (problem) {
        if (!(problem instanceof Refusal)) throw problem;
        return { refused: problem.code };
    }
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(line)));
