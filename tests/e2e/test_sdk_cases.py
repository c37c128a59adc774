"""Hard cases of the SDK's resources (tests/targets/sdk_cases.cpp): no memory to be had, fork while other threads are at work."""

import subprocess

import pytest

from targets import TARGETS

CASES = TARGETS / "sdk_cases"
NAMES = ["collect_without_memory", "emergency_without_memory", "handle_without_memory", "pool_without_memory",
         "fork_in_the_middle", "fork_at_first_use", "fork_and_clean_up_once"]  # fmt: skip


def test_every_case_is_run():
    assert subprocess.run([CASES], capture_output=True, text=True, check=False).stdout.split() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_case(name):
    run = subprocess.run([CASES, name], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("ok\n", "", 0)


def test_without_exceptions_and_rtti():
    run = subprocess.run([TARGETS / "frugal"], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("ok\n", "", 0)
