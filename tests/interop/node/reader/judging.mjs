// Whether a caveat holds for a request (caveats.md). A caveat that asks for an unknown fact does not hold.

import { APP, CHANNEL, EXPIRES, METHODS, PATH, PEER, SCOPES, THIRD_PARTY, unsupported } from './caveats.mjs';
import { same } from './keys.mjs';
import { isWithin } from './networks.mjs';
import { checkPath, isBelow } from './paths.mjs';
import { Refusal } from './refusal.mjs';

function pathHolds(prefix, { path }) {
    if (path === null) return false;
    try {
        checkPath(path);
    } catch (problem) {
        if (problem instanceof Refusal) return false;
        throw problem;
    }
    return isBelow(path, prefix);
}

// A rule of the service allows by nothing but an explicit "nothing against it".
function appHolds({ name, payload }, facts) {
    const rule = facts.app?.get(name);
    return rule !== undefined && rule(payload, facts) === null;
}

const JUDGES = new Map([
    [EXPIRES, (end, { now }) => BigInt(end) * 1000n > BigInt(now)],
    [SCOPES, () => true],
    [METHODS, (methods, { method }) => method !== null && methods.includes(method)],
    [PATH, pathHolds],
    [PEER, (networks, { peer }) => peer !== null && isWithin(peer, networks)],
    [CHANNEL, (wanted, { channel }) => channel !== null && same(wanted, channel)],
    [THIRD_PARTY, (demand, { discharged }) => discharged === true],
    [APP, appHolds],
]);

/** Facts of a request of which nothing but the time is known. */
export const nothingKnown = (now) => ({ now, method: null, path: null, peer: null, channel: null, app: new Map() });

/** The facts that are there in this use: a method and path in HTTP alone, a channel outside sealed ones. */
export function factsOfUse(use, facts) {
    const http = use === 1;
    return {
        ...facts,
        method: http ? facts.method : null,
        path: http ? facts.path : null,
        channel: use === 2 ? null : facts.channel,
    };
}

/** Refuses unless the caveat holds. The targets caveat has no judge here: it is the KDC's. */
export function judge(caveat, facts) {
    if (!caveat.known) throw unsupported(caveat);
    const holds = JUDGES.get(caveat.type);
    if (holds === undefined || !holds(caveat.value, facts)) {
        throw new Refusal('caveat', 'caveat-refused', `type ${caveat.type}`);
    }
}
