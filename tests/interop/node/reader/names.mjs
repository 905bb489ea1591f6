// Names of realms and principals, scopes, and subjects (names.md). A principal in text is `name@realm`.

import { integer, list, optional, record, set, sorted, text, u32, uint } from './fields.mjs';
import { Refusal, malformed } from './refusal.mjs';

const NAME = /^(?=.{1,128}$)[a-z0-9]+(?:[._/-][a-z0-9]+)*$/;
const SCOPE = /^[a-z0-9][a-z0-9._:/-]{0,63}$/;

const MOST_SCOPES = 32;

export const name = text('a canonical name', NAME);
const scope = text('a scope', SCOPE);
export const scopes = set(scope, 0, MOST_SCOPES);

export function checkedName(value) {
    if (!NAME.test(value)) throw new Refusal('name', 'name-invalid', 'not a canonical name');
    return value;
}

export function checkedScope(value) {
    if (!SCOPE.test(value)) throw new Refusal('name', 'scope-invalid', 'not a scope');
    return value;
}

/** Texts as a set of scopes: each once, in the order of the encoding. */
export function scopeSet(texts) {
    const found = sorted(texts.map(checkedScope), scope);
    if (found.length > MOST_SCOPES) throw new Refusal('name', 'scope-invalid', `more than ${MOST_SCOPES}`);
    return found;
}

/** The parts of `name@realm`. */
export function partsOf(principal) {
    const [first, second, ...rest] = principal.split('@');
    if (rest.length !== 0 || second === undefined) throw new Refusal('name', 'name-invalid', 'not name@realm');
    return { realm: checkedName(second), name: checkedName(first) };
}

const pair = record({ realm: name, name });

/** `[realm, name]` on the wire, `name@realm` here. */
export const principal = {
    read(items) {
        const parts = pair.read(items);
        return `${parts.name}@${parts.realm}`;
    },
    write: (value) => pair.write(partsOf(value)),
};

export const PROVEN = 1;
export const ASSERTED = 2;
export const how = integer(PROVEN, ASSERTED);

const named = (fields) => {
    const inner = record({ realm: name, name, ...fields });
    return {
        read(items) {
            const { realm, name: own, ...rest } = inner.read(items);
            return { principal: `${own}@${realm}`, ...rest };
        },
        write: ({ principal: both, ...rest }) => inner.write({ ...partsOf(both), ...rest }),
    };
};

/** On whose behalf: `[realm, name, uid, how]`. */
export const subject = named({ uid: uint, how });

// Within a ticket a realm is nil where it is that of its client, and only there.
const near = (fields) => {
    const inner = record({ realm: optional(name), name, ...fields });
    return (home) => ({
        read(items) {
            const { realm, name: own, ...rest } = inner.read(items);
            if (realm === home) malformed('the realm of the ticket in its chain or subject');
            return { principal: `${own}@${realm ?? home}`, ...rest };
        },
        write({ principal: both, ...rest }) {
            const parts = partsOf(both);
            return inner.write({ ...parts, realm: parts.realm === home ? null : parts.realm, ...rest });
        },
    });
};

/** The same in a ticket whose client is of the realm `home`: `[realm | nil, name, uid, how]`. */
export const subjectIn = near({ uid: uint, how });

/** An earlier caller and its login, in such a ticket: `[realm | nil, name, s]`. */
const hopIn = near({ auth_time: uint });
export const chainIn = (home) => list(hopIn(home), 0, 8);

/** The end user that a gateway names for one request: `[name, how]`. */
export const user = record({ name, how });

/** The low sixteen bits are critical: an unknown one refuses; the high sixteen are ignored. */
export function checkFlags(flags, known) {
    const unknown = flags & 0xffff & ~known;
    if (unknown !== 0) throw new Refusal('critical', 'unsupported-critical', `flags ${unknown}`);
}

export function checkCritical(crit) {
    if (crit.size !== 0) throw new Refusal('critical', 'unsupported-critical', `extension ${[...crit.keys()][0]}`);
}

export const flags = u32;
