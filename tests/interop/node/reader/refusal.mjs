// What a reader says instead of a result. Every check throws a Refusal; a reader never returns half a message.

/** A message, key or name was refused. `stage` and `code` are those of docs/protocol/README.md and errors.md. */
export class Refusal extends Error {
    constructor(stage, code, detail = '') {
        super(detail === '' ? code : `${code}: ${detail}`);
        this.name = 'Refusal';
        this.stage = stage;
        this.code = code;
        this.detail = detail;
    }
}

/** The one error of everything that is wrong with the form of a message (encoding.md, "Reading"). */
export function malformed(detail) {
    throw new Refusal('encoding', 'malformed', detail);
}

/** Runs `work`; what is malformed there was noticed at `stage`, where the bytes came from, whichever step said so. */
export function noticedAt(stage, work) {
    try {
        return work();
    } catch (problem) {
        if (problem instanceof Refusal && problem.code === 'malformed') {
            throw new Refusal(stage, 'malformed', problem.detail);
        }
        throw problem;
    }
}

/** Runs `work`, which writes: what no reader would take is not written. */
export function building(work) {
    try {
        return work();
    } catch (problem) {
        if (!(problem instanceof Refusal) || problem.code === 'key-misuse') throw problem;
        throw new Refusal('build', 'value-invalid', problem.detail);
    }
}

/** Runs `work`; whatever is malformed there has another name, for example `key-file-invalid`. */
export function malformedMeans(stage, code, work) {
    try {
        return work();
    } catch (problem) {
        if (problem instanceof Refusal && problem.code === 'malformed') {
            throw new Refusal(stage, code, problem.detail);
        }
        throw problem;
    }
}
