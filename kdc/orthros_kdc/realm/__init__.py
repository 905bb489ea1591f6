"""The realm in memory: one snapshot, one loader that owns it, and the principals that are at hand."""
