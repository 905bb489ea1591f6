"""What local processes and the daemon say to each other; docs/local-api.md is its specification."""
