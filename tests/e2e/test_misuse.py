"""Every wrong use of references and resources that the contract shows is found once, called by its name, and located. What `misuse` does:
tests/targets/misuse.c."""

from memtrace_runner import Memtrace
from targets import Target

# Kind of the error: the type of its object, and where its stacks lead to.
ERRORS = {
    "count_drift": "Drift",
    "below_zero": "Below",
    "use_after_destroy": "Used",
    "destroyed_while_held": "Held",
    "release_after_destroy": "Late",
    "release_without_acquire": "Unasked",
    "never_destroyed": "Forgotten",
}
VERDICTS = {"count_drift": "suspect", "never_destroyed": "probable"}  # the others: definite


def taken_in(stack, function):
    return any(function in frame["function"] for frame in stack)


def test_each_is_found_once(tmp_path):
    with Target.start("misuse", wait=True) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--interval", "500ms") as memtrace:
            target.go()
            target.truth()
            # never_destroyed is the last to be sure: it takes 10 s.
            report = memtrace.wait_report(lambda report: len(report["references"]["errors"]) >= len(ERRORS))
    errors = {error["kind"]: error for error in report["references"]["errors"]}
    assert len(report["references"]["errors"]) == len(ERRORS)
    assert {kind: error["type"] for kind, error in errors.items()} == ERRORS
    for kind, error in errors.items():
        assert error.get("count", 1) == 1
        assert taken_in(error["acquired_at"], f"bug_{kind}"), kind
        assert error["verdict"] == VERDICTS.get(kind, "definite"), kind
        if kind != "count_drift":
            assert taken_in(error["released_at"], f"bug_{kind}"), kind
    [resource] = report["resource_errors"]
    assert (resource["error"], resource["kind"]) == ("use_after_release", "cursor")
    assert taken_in(resource["acquired_at"], "bug_use_after_release")
    assert taken_in(resource["used_at"], "bug_use_after_release")
    assert report["verdict"]["class"] == "leak"
