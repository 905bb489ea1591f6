"""The program `orthros-kdc`: commands, ports, clock, logs, start and stop."""
