// A client of a KDC over TCP: one frame out, one frame back (encoding.md, "Frames"; as_exchange.md; tgs_exchange.md).

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

import { asRequest, openAsReply } from './as_exchange.mjs';
import { FrameReader, frame } from './frames.mjs';
import { Refusal } from './refusal.mjs';
import { openTgsReply, tgsRequest } from './tgs_exchange.mjs';

const PATIENCE_MS = 10_000;

/** Sends these messages one behind the other on a new connection. The answers come in their order. */
export function exchange({ host, port }, messages) {
    return new Promise((resolve, reject) => {
        const reader = new FrameReader();
        const answers = [];
        const socket = connect({ host, port });
        const fail = (problem) => {
            socket.destroy();
            reject(problem);
        };
        socket.setTimeout(PATIENCE_MS, () => fail(new Refusal('encoding', 'timeout')));
        socket.on('error', fail);
        socket.on('connect', () => socket.write(Buffer.concat(messages.map(frame))));
        socket.on('data', (bytes) => {
            try {
                answers.push(...reader.receive(bytes));
                if (answers.length < messages.length) return;
                socket.destroy();
                resolve(answers);
            } catch (problem) {
                fail(problem);
            }
        });
        socket.on('end', () => fail(new Refusal('encoding', 'connection-truncated')));
    });
}

/** One principal at one KDC. */
export class KdcClient {
    constructor(address, keyFile) {
        Object.assign(this, { address, keyFile, instance: randomBytes(16) });
    }

    #initialRequest(service, ttl_s) {
        const { realm, name, uid } = this.keyFile;
        const [{ key }] = this.keyFile.keys('as');
        const client = { realm, name, uid, as_key: key };
        return asRequest({ client, service, ttl_s, instance: this.instance, ts: Date.now(), nonce: randomBytes(16) });
    }

    /** Tickets of the initial exchange for services of the KDC, asked for on one connection. */
    async initialTickets(services, { ttl_s = 0 } = {}) {
        const pending = services.map((service) => this.#initialRequest(service, ttl_s));
        const answers = await exchange(
            this.address,
            pending.map(({ message }) => message),
        );
        return answers.map((answer, index) => openAsReply(pending[index], answer));
    }

    /** Proves K_as and keeps the TGT that comes back. */
    async login({ ttl_s = 0 } = {}) {
        [this.tgt] = await this.initialTickets(['kdc/tgt'], { ttl_s });
        return this.tgt;
    }

    /** The results for these wants, in order: each granted, or refused by its own code. */
    async ask(wants, { caveats = [], behalf = null } = {}) {
        const { ticket: tgt, session_key } = this.tgt;
        const pending = tgsRequest({
            tgt,
            session_key,
            caveats,
            wants,
            ts: Date.now(),
            nonce: randomBytes(16),
            behalf,
        });
        const [answer] = await exchange(this.address, [pending.message]);
        return openTgsReply(pending, answer).results;
    }

    /** A service ticket as what an AP exchange takes. */
    async ticket(target, scopes = null) {
        const [result] = await this.ask([{ kind: 0, target, scopes, ttl_s: 0, flags: 0 }]);
        if (result.code !== undefined) throw new Refusal('refused-by-peer', result.code);
        return { ticket: result.credential, session_key: result.session_key, scopes: result.scopes };
    }
}
