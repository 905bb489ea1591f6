"""Golden files: what every program says, and what it writes down, as text in this folder. A changed line is reviewed.

`python -m tests.golden --write` makes them anew.
"""
