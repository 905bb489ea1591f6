"""Tickets and all that hangs off them: caveats, discharges, evidence, call chains, hand-overs."""
