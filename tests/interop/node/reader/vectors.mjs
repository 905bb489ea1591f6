// node vectors.mjs FOLDER: runs every vector of the folder and says, for each file, how many it ran and what was wrong.

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { exchanges } from './operations/exchanges.mjs';
import { http } from './operations/http.mjs';
import { primitives } from './operations/primitives.mjs';
import { profiles } from './operations/profiles.mjs';
import { tickets } from './operations/tickets.mjs';
import { json, shape } from './operations/types.mjs';
import { Refusal } from './refusal.mjs';

const OPERATIONS = new Map(Object.entries({ ...primitives, ...tickets, ...exchanges, ...http, ...profiles }));

function outcome({ op, in: given }) {
    const operation = OPERATIONS.get(op);
    if (operation === undefined) throw new Error(`no operation ${op}`);
    const [fields, run] = operation;
    const read = shape(fields)(given);
    try {
        return { out: json(run(read)) };
    } catch (problem) {
        if (problem instanceof Refusal) return { stage: problem.stage, code: problem.code };
        throw problem;
    }
}

/** What must come of a vector: `out`, or `stage` and `code`. Whatever else is in it was meant to say something, too. */
function expected({ name: _name, op: _op, in: _in, ...said }) {
    const keys = Object.keys(said).sort().join();
    if (keys !== 'out' && keys !== 'code,stage') throw new Error(`not out alone, nor stage and code alone: ${keys}`);
    return said;
}

/** What is wrong with one vector: a line, or null. */
function complaint(vector) {
    try {
        const wanted = expected(vector);
        const got = outcome(vector);
        return isDeepStrictEqual(got, wanted) ? null : `wants ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`;
    } catch (problem) {
        return `${problem.name}: ${problem.message}`;
    }
}

function runFile(path) {
    const { protocol, about: _about, vectors, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
    if (protocol !== 'orthros/1' || vectors.length === 0) throw new Error(`${path}: no vectors of orthros/1`);
    if (Object.keys(rest).length !== 0) throw new Error(`${path}: unknown keys: ${Object.keys(rest).join(', ')}`);
    const complaints = vectors.flatMap((vector) => {
        const words = complaint(vector);
        return words === null ? [] : [`  ${vector.op} | ${vector.name} | ${words}`];
    });
    return { ran: vectors.length, complaints };
}

function main(folder) {
    const names = readdirSync(folder, { recursive: true })
        .filter((name) => name.endsWith('.json'))
        .sort();
    if (names.length === 0) throw new Error(`no vectors in ${folder}`);
    const below = names.filter((name) => dirname(name) !== '.');
    if (below.length !== 0) throw new Error(`vectors in a subfolder: ${below.join(', ')}`);
    let failed = 0;
    for (const name of names) {
        const { ran, complaints } = runFile(join(folder, name));
        failed += complaints.length;
        console.log(`${name}: ${ran} run, ${complaints.length} failed`);
        for (const line of complaints) console.log(line);
    }
    return failed === 0 ? 0 : 1;
}

const [folder] = process.argv.slice(2);
if (folder === undefined) {
    console.error('usage: node vectors.mjs FOLDER');
    process.exitCode = 2;
} else {
    process.exitCode = main(folder);
}
