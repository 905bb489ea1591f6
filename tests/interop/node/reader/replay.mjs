// A replay store in memory, for one process (ap_exchange.md, "Replay store").

import { randomBytes } from 'node:crypto';

import { Refusal } from './refusal.mjs';

const WINDOW = 60_000;
const MOST_AHEAD = 365_000;

const REFUSALS = new Map([
    ['stale', 'replayed'],
    ['seen', 'replayed'],
    ['ahead', 'too-far-ahead'],
    ['quota', 'quota'],
    ['full', 'busy'],
]);

/** Refuses what the store did not admit. */
export function checkAdmission(answer) {
    if (REFUSALS.has(answer)) throw new Refusal('replay', REFUSALS.get(answer));
}

export class ReplayStore {
    #entries = new Map();
    #floor = 0;

    /** Shares as in the pages: an eighth for one ticket, a quarter for one client. */
    constructor({
        capacity = 4096,
        per_client = Math.ceil(capacity / 4),
        per_ticket = Math.ceil(capacity / 8),
        born = Date.now(),
        epoch = randomBytes(8),
    } = {}) {
        Object.assign(this, { capacity, per_client, per_ticket, born, epoch });
    }

    #forget(now) {
        // In whole seconds, downwards: what the window still accepts is never below the floor.
        this.#floor = Math.max(this.#floor, Math.floor((now - WINDOW) / 1000) * 1000);
        for (const [tag, { ts }] of this.#entries) if (ts < this.#floor) this.#entries.delete(tag);
    }

    #count(same) {
        return [...this.#entries.values()].filter(same).length;
    }

    #answer({ tag, ts, client, ticket }, now) {
        this.#forget(now);
        const name = `${client} ${Math.floor(Number(ts) / 1000)} ${tag.toString('hex')}`;
        if (ts < this.#floor) return 'stale';
        if (this.#entries.has(name)) return 'seen';
        if (ts > now + MOST_AHEAD) return 'ahead';
        if (this.#count((entry) => entry.client === client) >= this.per_client) return 'quota';
        if (ticket !== undefined && this.#count((entry) => entry.ticket === ticket) >= this.per_ticket) return 'quota';
        if (this.#entries.size >= this.capacity) return 'full';
        this.#entries.set(name, { ts, client, ticket });
        return 'fresh';
    }

    /** One atomic step: JavaScript runs it to its end before anything else. */
    admit(request, now = Date.now()) {
        return { answer: this.#answer(request, now), now, epoch: this.epoch, born: this.born };
    }
}
