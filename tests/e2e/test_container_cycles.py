"""Cycles through memory that nobody tells of (containers, a pimpl) are found where every allocation is recorded, and none where somebody else
leads there. What `containers` does: tests/targets/containers.cpp."""

import pytest

from memtrace_runner import Memtrace
from targets import Target

TIMES = 3


def found(report):
    """Type of the objects -> cycles of them."""
    counts = {}
    for cycle in report["references"]["cycles"]:
        (kind,) = {found["type"].rpartition("::")[2] for found in cycle["objects"]}
        counts[kind] = counts.get(kind, 0) + cycle.get("count", 1)
    return counts


def report_with_witness(directory, case):
    """Of the target with this case, once the witness's cycles are found: those of the case, made before, have been looked at as often."""
    with Target.start("containers", ["--case", case], wait=True) as target:
        with Memtrace.attach(directory, target.ready(), "--sample", "exact", "--interval", "500ms") as memtrace:
            target.go()
            target.truth()
            return memtrace.wait_report(lambda report: found(report).get("Witness") == TIMES)


@pytest.mark.parametrize(("case", "kind"), [("list", "InList"), ("map", "InMap"), ("pimpl", "InPimpl"), ("vector", "InVector")])
def test_cycle_through_memory_of_its_own(tmp_path, case, kind):
    assert found(report_with_witness(tmp_path, case)) == {kind: TIMES, "Witness": TIMES}


@pytest.mark.parametrize(
    "case",
    [
        "list-kept",
        "map-kept",
        "pimpl-kept",
        "vector-kept",
        "list-of-stack-kept",
        "owner-kept",
        "owner-in-register-kept",
        "owner-of-epoll-kept",
        "owner-of-thread-kept",
    ],
)
def test_what_somebody_else_holds_is_no_cycle(tmp_path, case):
    assert found(report_with_witness(tmp_path, case)) == {"Witness": TIMES}
