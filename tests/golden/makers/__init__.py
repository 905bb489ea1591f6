"""What stands in the golden files: one module for each part, with a function `make(folder)`.

They run in an interpreter of their own, whose clock and chance stand still.
"""
