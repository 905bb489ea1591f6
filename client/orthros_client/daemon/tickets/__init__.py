"""The tickets that the daemon holds: kept, renewed, forgotten, saved over a restart."""
