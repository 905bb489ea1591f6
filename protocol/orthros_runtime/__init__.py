"""What the long-running programs of Orthros share besides the protocol: I/O, which `orthros_protocol` never does."""
