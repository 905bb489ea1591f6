// What the KDC carries over from the caveats of a TGT or of evidence, and what it writes (caveats.md).

import { EXPIRES, SCOPES, TARGETS, THIRD_PARTY, parseCaveat, unsupported } from './caveats.mjs';
import { Refusal } from './refusal.mjs';

const notCarried = (type) => new Refusal('carry', 'caveat-not-carried', `type ${type}`);

const meet = (lists) =>
    lists.length === 0 ? null : lists.reduce((left, one) => left.filter((item) => one.includes(item))).toSorted();

/** What the caveats leave for tickets obtained with the credential: the earliest end, and the common scopes and targets. */
export function carried(caveats, ofTgt) {
    const parsed = caveats.map(parseCaveat);
    const carries = ofTgt ? [EXPIRES, SCOPES, TARGETS] : [EXPIRES, SCOPES];
    for (const caveat of parsed) {
        if (!caveat.known) throw unsupported(caveat);
        if (!carries.includes(caveat.type)) throw notCarried(caveat.type);
    }
    const valuesOf = (wanted) => parsed.filter(({ type }) => type === wanted).map(({ value }) => value);
    const ends = valuesOf(EXPIRES);
    return {
        expires: ends.length === 0 ? null : ends.reduce((least, end) => (end < least ? end : least)),
        scopes: meet(valuesOf(SCOPES)),
        targets: meet(valuesOf(TARGETS)),
    };
}

/** Refuses limits of a want that the KDC does not write: targets, which only the KDC judges, and third-party caveats. */
export function checkLimits(caveats) {
    for (const caveat of caveats.map(parseCaveat)) {
        if (!caveat.known) throw unsupported(caveat);
        if (caveat.type === TARGETS || caveat.type === THIRD_PARTY) throw notCarried(caveat.type);
    }
}
