"""Long-lived keys by role, and the files that hold them."""
