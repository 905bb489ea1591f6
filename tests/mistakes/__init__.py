"""Usual mistakes, each made with real programs: what its caller reads, and what the service logs."""
