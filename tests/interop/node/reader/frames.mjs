// Messages on a byte stream (encoding.md, "Frames"): u32be length, then the message.

import { Refusal } from './refusal.mjs';

export const MOST_FRAME = 65_536;

/** A frame with this message. */
export function frame(message) {
    checkLength(message.length);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(message.length);
    return Buffer.concat([length, message]);
}

function checkLength(length) {
    if (length < 1 || length > MOST_FRAME) throw new Refusal('frame', 'frame-too-large', `${length} bytes`);
}

/** Cuts a stream into messages. A bad length refuses as soon as its four bytes are in. */
export class FrameReader {
    #rest = Buffer.alloc(0);

    /** The messages that are complete with these further bytes. */
    receive(bytes) {
        this.#rest = Buffer.concat([this.#rest, bytes]);
        const messages = [];
        while (this.#rest.length >= 4) {
            const length = this.#rest.readUInt32BE(0);
            checkLength(length);
            if (this.#rest.length < 4 + length) break;
            messages.push(this.#rest.subarray(4, 4 + length));
            this.#rest = this.#rest.subarray(4 + length);
        }
        return messages;
    }

    /** The stream has ended; inside a frame that is an error. */
    end() {
        if (this.#rest.length !== 0) throw new Refusal('frame', 'connection-truncated');
    }
}
