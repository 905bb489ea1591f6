"""`python -m workshop.tour`: a small realm of real processes that shows what Orthros does.

Knows only what an operator knows: commands, files, sockets and the public libraries.
"""
