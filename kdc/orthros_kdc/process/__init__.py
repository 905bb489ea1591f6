"""The program `orthros-kdc`: commands, clock, logs, start and stop."""
