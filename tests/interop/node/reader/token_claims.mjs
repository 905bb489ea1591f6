// The claims of a token: how they are built, and which form each of them has (jwt.md, "Claims").

import { readJson, writeJson } from './canonical_json.mjs';
import { checkedName, checkedScope, partsOf } from './names.mjs';
import { Refusal, malformed } from './refusal.mjs';

const NOT_BEFORE = 5;
const MOST_ACTORS = 8;
const [MOST_EXTRA, MOST_EXTRA_BYTES, MOST_EXTRA_TEXT] = [8, 1024, 256];
const MOST_EXTRA_INTEGER = 2 ** 53;

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The claims of a payload: one object in canonical JSON. */
export function readClaims(payload) {
    const claims = readJson(payload);
    return isObject(claims) ? claims : malformed('not an object');
}

const has = (test) => (value) => test(value) || malformed('a claim of another form');
const integer = has((value) => Number.isSafeInteger(value));
const string = has((value) => typeof value === 'string');
const id = has((value) => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value));

// A bare name that a client said, or name@realm that the KDC knows.
function party(value) {
    string(value);
    if (value.includes('@')) partsOf(value);
    else checkedName(value);
}

function scopeText(value) {
    string(value);
    if (value !== '') value.split(' ').forEach(checkedScope);
}

function actor(value) {
    if (!isObject(value) || Object.keys(value).some((key) => key !== 'sub' && key !== 'act'))
        malformed('act has sub and act');
    party(value.sub);
    if ('act' in value) actor(value.act);
}

function nextActor(value) {
    actor(value);
    if ('act' in value) malformed('one may act');
}

const REQUIRED = {
    iss: string,
    aud: string,
    client_id: (value) => partsOf(string(value) && value),
    sub: party,
    scope: scopeText,
    iat: integer,
    nbf: integer,
    exp: integer,
    jti: id,
    auth_time: integer,
    txn: id,
};
const OPTIONAL = { act: actor, may_act: nextActor, ext: has(isObject), kdc: string };

/** Refuses claims that are not those of the page, each in its form. */
export function checkForm(claims) {
    const forms = { ...REQUIRED, ...OPTIONAL };
    if (Object.keys(REQUIRED).some((key) => !(key in claims)) || Object.keys(claims).some((key) => !(key in forms)))
        malformed('other claims');
    try {
        for (const [key, value] of Object.entries(claims)) forms[key](value);
    } catch (problem) {
        throw problem instanceof Refusal ? new Refusal('encoding', 'malformed', problem.detail) : problem;
    }
    // The client is who acts, or who asks in its own name.
    const [asks, acts] = [claims.client_id, claims.act?.sub ?? claims.sub];
    if (asks !== acts) malformed('the client is not the one who acts');
}

/** Who acts for the subject, the present actor first. */
export const actorsOf = (act) => (act === undefined ? [] : [act.sub, ...actorsOf(act.act)]);

const nested = ([first, ...earlier]) => (earlier.length === 0 ? { sub: first } : { sub: first, act: nested(earlier) });

const refused = (stage, code, detail) => {
    throw new Refusal(stage, code, detail);
};

const isSmall = (value) =>
    typeof value === 'boolean' ||
    (typeof value === 'string' && Array.from(value).length <= MOST_EXTRA_TEXT) ||
    ((typeof value === 'number' || typeof value === 'bigint') &&
        value <= MOST_EXTRA_INTEGER &&
        value >= -MOST_EXTRA_INTEGER);

function checkExtra(extra) {
    const values = Object.values(extra);
    if (values.length > MOST_EXTRA || !values.every(isSmall))
        refused('claim', 'claim-refused', 'too many, or of another kind');
    if (writeJson(extra).length > MOST_EXTRA_BYTES) refused('claim', 'claim-refused', 'too large');
}

function checkSubject(subject, actors) {
    try {
        party(subject);
    } catch (problem) {
        throw problem instanceof Refusal ? new Refusal('subject', 'subject-refused') : problem;
    }
    if (actors.length >= MOST_ACTORS) refused('chain', 'chain-refused', 'more than eight would act');
}

/** The claims that say this, without the mark. What is null or empty has no claim. */
export function claimsOf({
    issuer,
    audience,
    client,
    scopes,
    iat,
    ttl_s,
    auth_time,
    txn,
    jti,
    subject,
    actors,
    may_act: may,
    extra,
}) {
    if (subject !== null) checkSubject(subject, actors);
    checkExtra(extra);
    return {
        iss: issuer,
        aud: audience,
        sub: subject ?? client,
        client_id: client,
        scope: scopes.join(' '),
        iat,
        nbf: iat - NOT_BEFORE,
        exp: iat + ttl_s,
        jti: jti.toString('hex'),
        auth_time,
        txn: txn.toString('hex'),
        ...(subject === null ? {} : { act: nested([client, ...actors]) }),
        ...(may === null ? {} : { may_act: { sub: may } }),
        ...(Object.keys(extra).length === 0 ? {} : { ext: extra }),
    };
}
