"""Tests that take minutes are run as far as CI's time goes."""

import os
import time

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """`LONG_TESTS_UNTIL`: seconds since 1970, after which no long test begins; without it all are run."""
    until = os.environ.get("LONG_TESTS_UNTIL")
    if until and item.get_closest_marker("long") and time.time() > float(until):
        pytest.skip("no time is left for it: run `make test-long`")
