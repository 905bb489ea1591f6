"""The daemon's sockets, and what can be asked through each."""
