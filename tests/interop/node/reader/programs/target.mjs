// node target.mjs --key FILE --origin URL: an HTTP service with the keys of a key file, on a free port of 127.0.0.1.
// GET needs the scope read, everything else write. It answers with what it knows of the request.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import { fieldsOf } from '../http_caller.mjs';
import { Answer, HttpTarget, proofOf } from '../http_target.mjs';
import { KeyFile } from '../key_files.mjs';
import { ReplayStore } from '../replay.mjs';

const MOST_BODY = 1024 * 1024;

const { values } = parseArgs({ options: { key: { type: 'string' }, origin: { type: 'string' } } });
const keyFile = KeyFile.load(values.key);
const target = new HttpTarget({
    keys: keyFile.ticketKeys(),
    realm: keyFile.realm,
    origins: [values.origin],
    store: new ReplayStore(),
});

async function readBody(request) {
    const pieces = [];
    let size = 0;
    for await (const piece of request) {
        size += piece.length;
        if (size > MOST_BODY) throw new Answer(413, 'too-large', null);
        pieces.push(piece);
    }
    return Buffer.concat(pieces);
}

async function serve(request) {
    const head = {
        method: request.method,
        target: request.url,
        fields: fieldsOf(request.rawHeaders),
        peer: request.socket.remoteAddress ?? null,
        scopes: [request.method === 'GET' ? 'read' : 'write'],
    };
    const accepted = target.judgeHead(head);
    const body = await readBody(request);
    target.checkBody(accepted, body);
    const told = { client: accepted.client, scopes: accepted.scopes, target: request.url, body: body.toString('utf8') };
    return { status: 200, content: told, accepted };
}

function answer(response, { status, content, challenge = null, accepted = null }) {
    const body = Buffer.from(JSON.stringify(content), 'utf8');
    response.statusCode = status;
    response.setHeader('content-type', 'application/json');
    response.setHeader('content-length', body.length);
    if (challenge !== null) response.setHeader('www-authenticate', challenge);
    if (accepted !== null) {
        const headers = [['content-type', Buffer.from('application/json', 'latin1')]];
        response.setHeader('orthros-reply', proofOf(accepted, { status, headers, body }));
    }
    response.end(body);
}

const server = createServer({ insecureHTTPParser: false }, (request, response) => {
    serve(request).then(
        (served) => answer(response, served),
        (problem) => {
            if (problem instanceof Answer) {
                answer(response, { ...problem, status: problem.status, content: { code: problem.code } });
            } else {
                console.error(problem.name);
                answer(response, { status: 503, content: { code: 'fault' } });
            }
        },
    );
});
server.listen(0, '127.0.0.1', () => console.log(`ready at 127.0.0.1:${server.address().port}`));
