// Operations of tests/vectors/README.md: HTTP.

import { apRequest } from '../ap_exchange.mjs';
import {
    Fields,
    canonicalAuthority,
    checkAboutBody,
    coveredValues,
    readContentDigest,
    readContentLength,
    uncovered,
    writeContentDigest,
} from '../http_fields.mjs';
import {
    bindHttp,
    openHttpReply,
    readAuthorization,
    readChallenge,
    writeAuthorization,
    writeChallenge,
    writeHttpReply,
} from '../http_headers.mjs';
import * as shapes from './shapes.mjs';
import { hex, int, list, nullable, text, writes } from './types.mjs';

export const http = {
    'bind-http': [
        {
            method: text,
            scheme: text,
            authority: text,
            target: hex,
            covered: shapes.fieldList,
            content_digest: nullable(hex),
        },
        (given) => ({ bind: bindHttp(given) }),
    ],
    authority: [{ text, scheme: text }, ({ text: host, scheme }) => ({ authority: canonicalAuthority(host, scheme) })],
    authorization: [
        { value: text },
        ({ value }) => {
            const read = readAuthorization(value);
            return { ...read, written: writeAuthorization(read) };
        },
    ],
    'content-digest': [
        { value: text },
        ({ value }) => {
            const sha256 = readContentDigest(value);
            return { sha256, written: writeContentDigest(sha256) };
        },
    ],
    'content-length': [{ value: text }, ({ value }) => ({ length: readContentLength(value) })],
    'request-fields': [
        { headers: shapes.fieldList, covered: list(text), floor: list(text) },
        ({ headers, covered, floor }) => {
            const fields = new Fields(headers);
            checkAboutBody(fields);
            return { values: coveredValues(fields, covered), uncovered: uncovered(fields, covered, floor) };
        },
    ],
    'http-reply': writes(
        {
            request: shapes.apRequest,
            status: int,
            headers: shapes.fieldList,
            covered: list(text),
            body_digest: nullable(hex),
            now: int,
            epoch: hex,
        },
        ({ request, ...response }) => ({ value: writeHttpReply(apRequest(request), response) }),
    ),
    'open-http-reply': [
        { request: shapes.apRequest, value: text, status: int, headers: shapes.fieldList },
        ({ request, value, status, headers }) => {
            const { ts, epoch, covered, body_digest } = openHttpReply(apRequest(request), value, { status, headers });
            return { target_time: ts, epoch, covered, body_digest };
        },
    ],
    challenge: [
        { value: text },
        ({ value }) => {
            const read = readChallenge(value);
            return { ...read, written: writeChallenge(read) };
        },
    ],
    'write-authorization': writes({ message: hex, covered: list(text) }, (given) => ({
        value: writeAuthorization(given),
    })),
    'write-content-digest': writes({ sha256: hex }, ({ sha256 }) => ({ value: writeContentDigest(sha256) })),
    'write-challenge': writes({ realm: text, code: nullable(text), reply: nullable(hex) }, (given) => ({
        value: writeChallenge(given),
    })),
};
