"""Credentials as a program holds them: used, narrowed, handed on, kept in a file, and discharged by others."""
