"""The client library for local programs: they ask the daemon, and keep its answers for a short while."""
