"""Who may call whom: rows, the one pure decision, and its explanation. Never waits, never reads a store."""
