"""Names that are not known are answered with the known one that is most like them, or with none."""

import numpy as np
import pytest

from mixbake.core.nearest import advise, find_nearest
from mixbake.core.ops import OP_SETS, STEPS
from mixbake.core.render import apply
from mixbake.errors import UsageError


@pytest.mark.parametrize("known", [OP_SETS, STEPS])
def test_a_name_is_nearest_to_itself_in_any_case(known: dict[str, object]) -> None:
    for name in known:
        assert find_nearest(name.upper(), known) == name
        assert find_nearest(f"{name}s", known) == name


def test_the_nearest_is_given_as_it_is_written() -> None:
    assert find_nearest("corner", ("Corners", "Sides")) == "Corners"
    assert find_nearest("zzz", ("Corners", "Sides")) is None
    assert find_nearest("", ("Corners",)) is None
    assert find_nearest("corner", ()) is None
    assert find_nearest(3, ("Corners",)) is None


def test_advice_names_the_nearest_and_in_any_case_all() -> None:
    assert advise("all12", ("safe9", "all13")) == "did you mean all13? Else choose from safe9, all13"
    assert advise("zzz", ("safe9", "all13")) == "choose from safe9, all13"


def test_a_step_on_its_own_is_found_by_its_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown step 'rotat': did you mean rotate\? Else choose from rotate, "):
        apply("rotat", [np.zeros((16, 16, 3), np.uint8)], [3.0])
