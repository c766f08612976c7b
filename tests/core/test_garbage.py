"""The garbage collector, while work is done that it would only slow down."""

from __future__ import annotations

import gc

import pytest

from core import garbage


def test_nothing_is_collected_inside_and_everything_after() -> None:
    with garbage.held_off():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_failure_inside_lets_the_collector_in_again() -> None:
    with pytest.raises(ValueError, match="broken"), garbage.held_off():
        raise ValueError("broken")
    assert gc.isenabled()
