// Operations of tests/vectors/README.md: streams and clocks, tokens, and message signatures.

import { offsetOf } from '../clocks.mjs';
import { FrameReader, frame } from '../frames.mjs';
import { keyIdOf, signRequest, signatureKey, verifySignature } from '../message_signatures.mjs';
import { Refusal } from '../refusal.mjs';
import { ReplayStore } from '../replay.mjs';
import { actorsOf, claimsOf } from '../token_claims.mjs';
import { mintToken, verifyToken } from '../tokens.mjs';
import { fieldList, macKeys } from './shapes.mjs';
import { bool, hex, int, list, map, maybe, nullable, or, shape, text, writes } from './types.mjs';

const tokenKey = shape({ key: hex, kid: text, alg: text });
const extra = (value) => Object.fromEntries(map(or(text, int, bool))(value));
const tokenContent = shape({
    issuer: text,
    audience: text,
    client: text,
    scopes: list(text),
    iat: int,
    ttl_s: int,
    auth_time: int,
    txn: hex,
    jti: hex,
    subject: nullable(text),
    actors: list(text),
    may_act: nullable(text),
    extra,
});
const signedRequest = shape({ method: text, target_uri: text, authority: text, headers: fieldList });

function readFrames({ pieces, ended }) {
    const reader = new FrameReader();
    const messages = pieces.flatMap((piece) => reader.receive(piece));
    if (ended) reader.end();
    return { messages };
}

function describeToken(claims) {
    const { client_id: client, sub: subject, scope, jti, iat, exp, auth_time, txn, may_act: may, ext = {} } = claims;
    return {
        client,
        subject,
        scopes: scope === '' ? [] : scope.split(' '),
        jti,
        iat,
        exp,
        auth_time,
        txn,
        act: actorsOf(claims.act),
        may_act: may?.sub ?? null,
        extra: ext,
    };
}

function verify({
    request,
    signature_input: input,
    signature,
    pop_key: pop,
    ticket,
    client,
    end,
    now,
    born = 0,
    repeatable,
    earlier,
}) {
    const store = new ReplayStore({ born });
    const known = { secret: signatureKey(pop), client, end };
    const situation = {
        keyOf: (keyid) => (keyid === keyIdOf(ticket) ? known : undefined),
        store: { admit: (entry) => store.admit(entry, now) },
        repeatable,
    };
    const once = () => verifySignature(request, { input, signature }, situation);
    for (let count = 0; count < earlier; count += 1) {
        try {
            once();
        } catch (problem) {
            if (!(problem instanceof Refusal)) throw problem;
        }
    }
    return once();
}

export const profiles = {
    frame: writes({ message: hex }, ({ message }) => ({ frame: frame(message) })),
    frames: [{ pieces: list(hex), ended: bool }, readFrames],
    offset: [
        { peer_time: int, sent: int, round_trip_ms: int, most_ms: nullable(int) },
        (given) => ({ offset: offsetOf(given) }),
    ],
    token: [
        { key: tokenKey, content: tokenContent, mac_no: int, mac_key: hex, entropy: hex },
        ({ key, content, ...rest }) => ({ text: mintToken(claimsOf(content), key, rest) }),
    ],
    'open-token': [
        { text, keys: list(tokenKey), mac_keys: macKeys, issuer: text, audience: text, now: int },
        ({ text: token, keys: records, mac_keys, issuer: iss, audience: aud, now }) =>
            describeToken(verifyToken(token, { records, mac_keys, aud, iss, now })),
    ],
    sign: [
        {
            request: signedRequest,
            pop_key: hex,
            ticket: hex,
            components: list(text),
            created: int,
            expires: int,
            nonce: text,
        },
        ({ request, pop_key: pop, ticket, ...parameters }) => {
            const signed = signRequest(request, signatureKey(pop), { ...parameters, keyid: keyIdOf(ticket) });
            return { signature_input: signed.input, signature: signed.signature };
        },
    ],
    'verify-signature': [
        {
            request: signedRequest,
            signature_input: text,
            signature: text,
            pop_key: hex,
            ticket: hex,
            client: text,
            end: int,
            now: int,
            born: maybe(int),
            repeatable: bool,
            earlier: int,
        },
        verify,
    ],
};
