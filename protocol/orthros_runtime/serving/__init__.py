"""Sockets of a server. The only part of this package that imports trio: what services embed does without it."""
