"""The protocol's test vectors: writes tests/vectors/*.json, and checks that files and code agree.

Each vector is {name, op, in, out} or, where something must be refused, {name, op, in, stage, code} with
exactly one thing wrong. `tests/vectors/README.md` says what the operations are and how
values are written.
"""
