// Types of caveats and their shapes (caveats.md). A caveat only takes away.

import { MOST_CAVEAT } from './attenuation.mjs';
import { binary, optional, record, set, text, uint } from './fields.mjs';
import { decode, encode, isInteger } from './msgpack.mjs';
import { name, principal, scopes } from './names.mjs';
import { checkNetwork } from './networks.mjs';
import { checkPrefix } from './paths.mjs';
import { Refusal, malformed } from './refusal.mjs';

export const EXPIRES = 1;
export const SCOPES = 2;
export const METHODS = 3;
export const PATH = 4;
export const TARGETS = 5;
export const PEER = 6;
export const CHANNEL = 7;
export const THIRD_PARTY = 8;
export const APP = 9;

const MOST_ENTRIES = 32;
const PART = '[a-z0-9][a-z0-9._-]{0,62}';

const checkedText = (check) => {
    const checked = (value) => (typeof value === 'string' ? check(value) : malformed('a str'));
    return { read: checked, write: checked };
};

/** Where a demand's secret is: a salt from which a holder derived it, or the root that the KDC sealed. */
const thirdParty = record({
    realm: name,
    name,
    salt: optional(binary(16)),
    root: optional(binary(32)),
    digest: binary(32),
});

const SHAPES = new Map([
    [EXPIRES, record({ value: uint })],
    [SCOPES, record({ value: scopes })],
    [METHODS, record({ value: set(text('a method', /^[A-Z]{1,20}$/), 0, MOST_ENTRIES) })],
    [PATH, record({ value: checkedText(checkPrefix) })],
    [TARGETS, record({ value: set(principal, 1, MOST_ENTRIES) })],
    [PEER, record({ value: set(checkedText(checkNetwork), 0, MOST_ENTRIES) })],
    [CHANNEL, record({ value: binary(32) })],
    [THIRD_PARTY, thirdParty],
    [APP, record({ name: text('namespace/name', new RegExp(`^${PART}/${PART}$`)), payload: binary(0, 360) })],
]);

/** A caveat as `{ type, known, value }`. An unknown type is well-formed: it is refused when it is judged. */
export function parseCaveat(bytes) {
    if (bytes.length === 0) malformed('an empty caveat');
    const [type, ...rest] = decode(bytes, MOST_CAVEAT);
    if (!isInteger(type)) malformed('the type of a caveat is an integer');
    const shape = SHAPES.get(type);
    if (shape === undefined) return { type, known: false, value: null };
    const fields = shape.read(rest);
    if (type === THIRD_PARTY && (fields.salt === null) === (fields.root === null)) malformed('one of salt and root');
    const value = type === THIRD_PARTY || type === APP ? fields : fields.value;
    return { type, known: true, value };
}

/** A third-party caveat: of a holder with a salt, of the KDC with a root. */
export function thirdPartyCaveat(fields) {
    return encode([THIRD_PARTY, ...thirdParty.write(fields)]);
}

/** A third-party caveat of the KDC stands inside the sealed ticket, one of a holder beside it. */
export function checkPlace(caveat, sealed) {
    if (caveat.type !== THIRD_PARTY) return;
    if ((caveat.value.root !== null) !== sealed) malformed('a root stands inside the sealed ticket, a salt beside it');
}

export function unsupported(caveat) {
    return new Refusal('caveat', 'caveat-unsupported', `type ${caveat.type}`);
}

/** What remains of `granted` behind these caveats. */
export function narrowedScopes(granted, caveats) {
    return caveats
        .filter(({ type }) => type === SCOPES)
        .reduce((left, { value }) => left.filter((scope) => value.includes(scope)), granted);
}
