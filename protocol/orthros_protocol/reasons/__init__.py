"""Reasons for refusals and failures: number, name, cause, remedy, and whether to try again."""
