"""Single faults in the protocol, one at a time, and whether the vectors see them: `make mutants`."""
