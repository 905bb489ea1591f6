// The numbers of refusals that travel (errors.md). A number is never given to another meaning.

import { malformed } from './refusal.mjs';

const NAMES = new Map([
    [10, 'key-retired'],
    [11, 'principal-disabled'],
    [12, 'clock-skew'],
    [13, 'tgt-expired'],
    [14, 'rate-limited'],
    [15, 'not-granted'],
    [16, 'target-unavailable'],
    [17, 'no-scope-left'],
    [18, 'subject-refused'],
    [19, 'chain-refused'],
    [20, 'jwt-not-enabled'],
    [21, 'not-attempted'],
    [22, 'excluded-by-your-caveat'],
    [23, 'unsupported-critical'],
    [24, 'exact-not-possible'],
    [25, 'revoked'],
    [26, 'unknown-service'],
    [27, 'kdc-fault'],
    [28, 'ticket-altered'],
    [29, 'source-refused'],
    [30, 'caveat-not-carried'],
    [31, 'evidence-refused'],
    [32, 'discharger-unavailable'],
    [33, 'discharge-refused'],
    [34, 'want-invalid'],
    [40, 'epoch-required'],
    [41, 'busy'],
    [42, 'replayed'],
    [43, 'ticket-expired'],
    [44, 'ticket-times-invalid'],
    [45, 'wrong-binding'],
    [46, 'caveat-refused'],
    [47, 'caveat-unsupported'],
    [48, 'user-not-accepted'],
    [49, 'insufficient-scope'],
    [50, 'discharge-mismatch'],
    [51, 'clock-unsafe'],
    [52, 'body-mismatch'],
    [53, 'not-covered'],
    [54, 'vetoed'],
    [55, 'not-repeatable'],
    [56, 'too-far-ahead'],
    [57, 'quota'],
]);
const NUMBERS = new Map([...NAMES].map(([number, name]) => [name, number]));

/** The name of a code; of an unknown one its number, which is shown and never acted on. */
export const nameOfCode = (number) => NAMES.get(number) ?? `code-${number}`;

/** The number of a name that travels. */
export const numberOfCode = (name) => NUMBERS.get(name) ?? malformed(`${name} never travels`);

/** What a target says in the place of a reason that never travels (choices.md, 29). */
export const travelling = (name) => (NUMBERS.has(name) ? name : 'kdc-fault');
