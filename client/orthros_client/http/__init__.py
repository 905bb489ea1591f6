"""HTTP requests with tickets, both sides, as values: knows no framework, no socket and no event loop."""
