"""The tests of a bake's distributions, by name."""

from pathlib import Path

import pytest

import mixbake.audit
from mixbake.audit import statistics

Tests = dict[str, statistics.Test]


def run(out: Path) -> Tests:
    """The tests by name."""
    tests = statistics.run_tests(mixbake.audit.open(out).catalog)
    found = {test.name: test for test in tests}
    assert len(found) == len(tests)
    for test in tests:
        assert sum(cell.seen for cell in test.cells) == test.n
        assert sum(cell.expected for cell in test.cells) == pytest.approx(test.n)
    return found


def failed(tests: Tests) -> set[str]:
    return {name for name, test in tests.items() if not test.passed}
