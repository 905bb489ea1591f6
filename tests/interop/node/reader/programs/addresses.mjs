// `host:port` of a command line.

export function addressOf(text) {
    const at = text.lastIndexOf(':');
    return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}
