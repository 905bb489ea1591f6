"""How large a call chain makes a request: built and accepted for real."""

from itertools import pairwise

from workshop.bench.sizes import measure_sizes


def test_a_header_at_depth_8_has_at_most_700_characters() -> None:
    """With names of nine characters: the realm is said once, and not at every hop."""
    sizes = measure_sizes()
    assert sizes[-1].header <= 700
    assert {after.raw - before.raw for before, after in pairwise(sizes)} == {17}
