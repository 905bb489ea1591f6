// What a client learns from the time in a proven answer (as_exchange.md and ap_exchange.md, "The client").

const MOST_ROUND_TRIP = 5_000;

/**
 * How far the peer is ahead, in milliseconds; null where nothing is learnt: the round trip took 5 s or more, or the offset is larger
 * than `most`, which is null for the KDC. Half the round trip is rounded down.
 */
export function offsetOf({ peer_time: peerTime, sent, round_trip_ms: roundTrip, most_ms: most }) {
    if (roundTrip < 0 || roundTrip >= MOST_ROUND_TRIP) return null;
    const offset = peerTime - (sent + Math.floor(roundTrip / 2));
    return most !== null && Math.abs(offset) > most ? null : offset;
}
