// Evidence, and which paths a call may come through (call_chain.md).

import { derive, digest } from './keys.mjs';
import { partsOf } from './names.mjs';
import { Refusal } from './refusal.mjs';

const MOST_HOPS = 8;

/** A proof that the sender opened the evidence: its key stands inside the ticket. */
export const proofOf = (sessionKey, evidence) => derive(sessionKey, 'evid', digest(evidence));

/** The key of a request that shows evidence. */
export const mixProof = (pop, proof) => derive(pop, 'evmix', proof);

const within = (realm) => (principal) => {
    const parts = partsOf(principal);
    return parts.realm === realm ? parts.name : principal;
};

/** The path of a call to a target of `realm`: its chain and then its client; none for an own call. */
export function pathOf(realm, chain, client) {
    if (chain.length === 0) return [];
    return [...chain.map((hop) => hop.principal), client].map(within(realm));
}

/** Refuses a path that the rule does not allow: `deny_via`, `require_via`, `max_depth`, `callbacks`, all optional. */
export function checkPath(path, target, rule = {}) {
    const refuse = (detail) => {
        throw new Refusal('chain', 'chain-refused', detail);
    };
    const { deny_via: denied = [], require_via: required = [], max_depth: depth = MOST_HOPS, callbacks = false } = rule;
    if (denied.some((one) => path.includes(one))) refuse('a member of the path is denied');
    if (!required.every((one) => path.includes(one))) refuse('a required member is not on the path');
    if (path.length - 1 > depth) refuse('the path is too deep');
    if (!callbacks && path.length > 0 && new Set([...path, target]).size !== path.length + 1)
        refuse('a principal stands on the path twice');
}
