"""Where keys stand, in every way in which TOML lets one write them."""

import tomllib
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.realm_file_lines import Lines

EVERYTHING = dedent(
    '''\
    version = 1 # one
    top."dotted key".deep = 'x = 1'

    [realm] # "]
    issuer = """
    [rules]
    a = 1 \\""" ""\\
    """""
    max_ticket_s = 60
    [principals."kdc-x/y"]
    jwt = { alg = "HS256", audience = 'a#b' } # {
    [principals]
    orders.disabled = false
    "a\\u0062c" = {}
    [[rules]]
    client = "a" # [[rules]]
    scopes = [ # [
      "read", "]",
      \'\'\'
      long \'\'\',
      # "no"
      1979-05-27 07:32:00, 1.5e3,
      [ {x = 1}, {y = [
        2]}]
    ]
    [rules.more]
    z = true
    [[ "rules" ]]
    target = "b"
    [[rules.parts]]
    [[rules.parts]]
    w = -0'''
)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("version",), 1),
        (("top",), 2),
        (("top", "dotted key", "deep"), 2),
        (("realm",), 4),
        (("realm", "issuer"), 5),
        (("realm", "max_ticket_s"), 9),
        (("principals",), 12),
        (("principals", "kdc-x/y"), 10),
        (("principals", "kdc-x/y", "jwt", "audience"), 11),
        (("principals", "orders", "disabled"), 13),
        (("principals", "abc"), 14),
        (("rules", 0), 15),
        (("rules", 0, "client"), 16),
        (("rules", 0, "scopes"), 17),
        (("rules", 0, "scopes", 1), 18),
        (("rules", 0, "scopes", 2), 19),
        (("rules", 0, "scopes", 3), 22),
        (("rules", 0, "scopes", 4), 22),
        (("rules", 0, "scopes", 5, 0, "x"), 23),
        (("rules", 0, "scopes", 5, 1, "y", 0), 24),
        (("rules", 0, "more", "z"), 27),
        (("rules", 1), 28),
        (("rules", 1, "target"), 29),
        (("rules", 1, "parts", 0), 30),
        (("rules", 1, "parts", 1, "w"), 32),
    ],
)
def test_everything_has_its_line(path, line):
    tomllib.loads(EVERYTHING)
    assert Lines.of(EVERYTHING).at(*path) == line


def test_what_is_not_there_has_the_line_of_what_it_would_stand_in():
    lines = Lines.of(EVERYTHING)
    assert lines.at("rules", 1, "client") == 28
    assert lines.at("rules", 9) == 15
    assert lines.at("groups", "x") == 1
    assert Lines.of("").at("version") == 1


scalars = st.sampled_from(["1", "true", '"a # \\" ]"', "'}'", '"""x\n""\\"\n"""', "'''\n#'''", "1979-05-27 07:32:00"])
keys = st.sampled_from(["a", '"b c"', "'d.e'", "f . g", '"\\u00e9"', "1-2_3"])
gaps = st.sampled_from(["", " ", "\n", "  # ]}\n", "\r\n\t"])


@st.composite
def values(draw, depth=0):
    kind = draw(st.sampled_from(["scalar", "array", "table"] if depth < 3 else ["scalar"]))
    if kind == "array":
        inner = draw(st.lists(values(depth=depth + 1), max_size=3))
        return "[" + draw(gaps) + "".join(f"{one}{draw(gaps)},{draw(gaps)}" for one in inner) + "]"
    if kind == "table":
        names = draw(st.lists(keys, max_size=3, unique=True))
        return "{" + ", ".join([f"{name} = {draw(values(depth=depth + 1))}" for name in names]) + " }"
    return draw(scalars)


def paths(value, path=()):
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in below:
        yield (*path, key)
        yield from paths(one, (*path, key))


@given(st.lists(st.tuples(st.sampled_from(["", "[t{}]", "[[list]]", "[[list.deep]]"]), values()), max_size=5))
def test_every_path_of_any_text_is_found(entries):
    """And a marker before each statement proves that the walk went on right behind every value."""
    text, expected = "[[list]]\n", {}
    for number, (header, value) in enumerate(entries):
        text += f"{header.format(number)}\n"
        expected[f"m{number}"] = text.count("\n") + 1
        text += f"m{number} = {value} # m = 1\n"
    found = tomllib.loads(text)
    lines = Lines.of(text)
    for path in paths(found):
        assert path in lines._found, path
        if path[-1] in expected:
            assert lines.at(*path) == expected[path[-1]]
