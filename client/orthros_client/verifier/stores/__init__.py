"""Replay stores: where a service burnt which requests, for one process, for a host, or for all that share a server."""
