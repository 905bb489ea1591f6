"""Decides and issues: pure functions of gathered facts and `now`. Never waits, never logs."""
