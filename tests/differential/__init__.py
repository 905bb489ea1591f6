"""The checkout beside the version where a rebuild began, over the same cases: `make differential`."""
