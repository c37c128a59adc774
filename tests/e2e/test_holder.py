"""What a program that holds objects and cursors by our SDK does wrong is found, called by its name and located; and nothing is found in
what it does right. What `holder` does: tests/targets/holder.cpp."""

from datetime import datetime, timedelta, timezone

import pytest

from memtrace_runner import Memtrace
from targets import Target

TIMES = 3
SETTLED = timedelta(seconds=4)  # errors count when they have lasted 2 s (model/references.hpp): nothing comes up after that


def settled_report(directory, bug):
    """Of the holder with this bug, some seconds after it was committed; and the truth."""
    with Target.start("holder", ["--bug", bug], wait=True) as target:
        with Memtrace.attach(directory, target.ready(), "--interval", "500ms") as memtrace:
            target.go()
            truth = target.truth()
            since = (datetime.now(timezone.utc) + SETTLED).isoformat(timespec="milliseconds")
            return memtrace.wait_report(lambda report: report["time"] > since), truth


def functions(stack):
    return [frame["function"] for frame in stack]


def taken_in(stack, function):
    return any(function in name for name in functions(stack))


def leaked(report):
    return [resource for resource in report["resources"] if resource["verdict"] not in ("stable", "unknown", "")]


@pytest.mark.parametrize("repetition", range(3))
def test_right_work_is_not_blamed(tmp_path, repetition):
    report, _ = settled_report(tmp_path, "none")
    assert report["coverage"]["counters"]["contract_hits"] > 100 * 20
    assert not report["coverage"]["lost"]
    assert report["references"]["objects"] == 0
    assert report["references"]["cycles"] == []
    assert report["references"]["errors"] == []
    assert [resource for resource in report["resources"] if not resource["kind"].startswith(("fd:", "os:"))] == []
    assert report["verdict"]["class"] != "leak"


@pytest.mark.parametrize(("bug", "size"), [("cycle-2", 2), ("cycle-5", 5)])
def test_cycle(tmp_path, bug, size):
    report, _ = settled_report(tmp_path, bug)
    references = report["references"]
    assert references["objects"] == TIMES * size
    assert references["errors"] == []
    cycles = references["cycles"]
    assert sum(cycle.get("count", 1) for cycle in cycles) == TIMES
    for cycle in cycles:
        assert len(cycle["objects"]) == size
        assert {found["type"].rpartition("::")[2] for found in cycle["objects"]} == {"Plan"}
        assert all(found["strong"] == 1 for found in cycle["objects"])
        assert all(taken_in(handle["acquired_at"], "bug_cycle") for handle in cycle["handles"])
    assert report["verdict"]["class"] == "leak"


@pytest.mark.parametrize(
    ("bug", "kind", "function"),
    [("lost-release", "lost_release", "bug_lost_release"), ("double-release", "double_release", "bug_double_release"),
     ("kept-block", "block_kept", "bug_kept_block")],  # fmt: skip
)
def test_reference_error(tmp_path, bug, kind, function):
    report, _ = settled_report(tmp_path, bug)
    errors = report["references"]["errors"]
    assert {error["kind"] for error in errors} == {kind}
    assert sum(error.get("count", 1) for error in errors) == TIMES
    assert all(taken_in(error["acquired_at"], function) for error in errors)
    if kind == "block_kept":
        assert all(taken_in(error["released_at"], function) for error in errors), "where it was overwritten"
        assert all(taken_in(error["before_at"], function) for error in errors), "where the object was destroyed"
        assert all(error["verdict"] == "definite" and error["bytes"] > 0 for error in errors)
        assert "the object was destroyed" in errors[0]["evidence"]
    if kind == "double_release":
        assert all(taken_in(error["released_at"], function) for error in errors)
    assert report["references"]["cycles"] == []


def test_cursor_whose_thread_has_ended(tmp_path):
    report, _ = settled_report(tmp_path, "cursor")
    found = leaked(report)
    assert len(found) == TIMES
    for cursor in found:
        assert (cursor["kind"], cursor["name"], cursor["bytes"]) == ("cursor", "select * from t", 4096)
        assert cursor["verdict"] == "probable"
        assert taken_in(cursor["acquired_at"], "bug_cursor")
    assert report["references"]["errors"] == []
