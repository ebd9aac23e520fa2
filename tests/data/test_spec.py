import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixbake.data.spec import parse_options, whole_number
from mixbake.errors import UsageError

ALLOWED = ("count", "size", "split")
VALUES = st.text(st.characters(exclude_characters=",", exclude_categories=("Cs",)), min_size=1)


@given(st.dictionaries(st.sampled_from(ALLOWED), VALUES, min_size=1))
def test_options_come_back_as_written(options):
    spec = "demo:" + ",".join(f"{key}={value}" for key, value in options.items())
    assert parse_options(spec, ALLOWED) == options


def test_a_bare_name_has_no_options():
    assert parse_options("demo", ALLOWED) == {}


@pytest.mark.parametrize(
    "spec",
    [
        "demo:",
        "demo:count",
        "demo:count=",
        "demo:=3",
        "demo:Count=3",
        "demo:count=3,",
        "demo:count=3,count=4",
        "demo: count=3",
    ],
)
def test_anything_else_is_refused_and_the_options_are_named(spec):
    with pytest.raises(UsageError) as refusal:
        parse_options(spec, ALLOWED)
    assert all(key in str(refusal.value) for key in ALLOWED)
    assert repr(spec) in str(refusal.value)


@given(st.integers(0, 10**9))
def test_whole_numbers_within_bounds_are_read(value):
    assert whole_number("demo", "count", str(value), low=0, high=10**9) == value


@given(st.one_of(st.integers(max_value=2).map(str), st.integers(min_value=10).map(str), st.text()))
def test_everything_else_is_no_whole_number(value):
    if value.isascii() and value.isdigit() and 3 <= int(value) <= 9:
        assert whole_number("demo", "count", value, low=3, high=9) == int(value)
        return
    with pytest.raises(UsageError, match="from 3 to 9"):
        whole_number("demo", "count", value, low=3, high=9)
