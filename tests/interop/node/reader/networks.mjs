// Networks and the addresses of peers (caveats.md, "Peers"). A network has one spelling.

import { isIPv4, isIPv6 } from 'node:net';

import { malformed } from './refusal.mjs';

const MAPPED = 0xffffn << 32n;

const fromIPv4 = (text) => text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);

function fromIPv6(text) {
    // Dotted decimals at the end are two groups.
    const dotted = text.match(/^(.*:)(\d+\.\d+\.\d+\.\d+)$/);
    const plain = dotted === null ? text : dotted[1] + hexGroups(fromIPv4(dotted[2]));
    const [left, right] = plain.split('::').map((side) => (side === '' ? [] : side.split(':')));
    const groups = right === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill('0'), ...right];
    return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

const hexGroups = (value) => `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;

/** The form of RFC 5952, section 4, without dotted decimals. */
function writeIPv6(value) {
    const groups = Array.from({ length: 8 }, (_, index) =>
        ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
    );
    let best = { start: 0, size: 1 };
    for (let start = 0; start < 8; start += 1) {
        let size = 0;
        while (groups[start + size] === '0') size += 1;
        if (size > best.size) best = { start, size };
    }
    if (best.size < 2) return groups.join(':');
    return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.size).join(':')}`;
}

/** An address as `{ bits, value }`; an IPv4-mapped one is the IPv4 address, a zone is ignored. Null for no address. */
export function addressOf(text) {
    const plain = text.split('%', 1)[0];
    if (isIPv4(plain)) return { bits: 32, value: fromIPv4(plain) };
    if (!isIPv6(plain)) return null;
    const value = fromIPv6(plain);
    return value >> 32n === MAPPED >> 32n ? { bits: 32, value: value & 0xffffffffn } : { bits: 128, value };
}

function networkOf(text) {
    const match = text.match(/^([0-9a-f.:]+)\/(0|[1-9]\d{0,2})$/);
    if (match === null) malformed('not a network');
    const [, address, digits] = match;
    const size = Number(digits);
    if (isIPv4(address)) return { bits: 32, value: fromIPv4(address), size };
    if (!isIPv6(address)) malformed('not a network');
    const value = fromIPv6(address);
    if (writeIPv6(value) !== address) malformed('another spelling of a network');
    if (size >= 96 && value >> 32n === MAPPED >> 32n) malformed('a network of IPv4-mapped addresses');
    return { bits: 128, value, size };
}

/** Refuses what is not the one spelling of a network. */
export function checkNetwork(text) {
    const { bits, value, size } = networkOf(text);
    if (size > bits) malformed('a prefix length that is too long');
    if (value & ((1n << BigInt(bits - size)) - 1n)) malformed('bits behind the prefix');
    return text;
}

/** Whether the peer's address lies in one of these networks. */
export function isWithin(peer, networks) {
    const address = addressOf(peer);
    if (address === null) return false;
    return networks.map(networkOf).some(({ bits, value, size }) => {
        const behind = BigInt(bits - size);
        return bits === address.bits && value >> behind === address.value >> behind;
    });
}
