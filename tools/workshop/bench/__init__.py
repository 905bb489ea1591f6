"""Benchmarks: every figure beside a peer or the bare primitives, taken in one run, every reply opened and checked."""
