"""What is tested inside the emulated machine, on the kernel that it has booted. Run by tests/e2e/test_vm.py.

The targets tell the truth and memtrace is held to it, with the helpers of tests/e2e. Sizes are small: everything takes ten times
as long as outside.
"""

import os
import platform
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

# pylint: disable=wrong-import-position
from memtrace_runner import Launched, Memtrace, live_by_function, live_total, traced  # noqa: E402
from targets import TARGETS, Target, bare_name  # noqa: E402
from test_descriptors import check_every_way  # noqa: E402
from tracer import PAGE, Tracer, assert_nothing_left, breakpoints, run_memtrace  # noqa: E402

RELEASE = tuple(int(number) for number in platform.release().split(".")[:2])
HAS_MULTI = RELEASE >= (6, 6)
# libc allocates on behalf of the leaking function, which then is not the caller: any frame may be it.
WHOLE_STACK = {"family"}


def words(command):
    name, *args = command.split()
    return name, args


def assert_exact(report, truth, name):
    def function_of(site):
        frames = [bare_name(frame["function"]) for frame in site["stack"]]
        return truth.function_of_inner(frames if name in WHOLE_STACK else frames[:1])

    assert live_by_function(report, function_of) == truth.leaks
    assert report["coverage"]["mode"] == "exact"
    assert report["coverage"]["lost"] == {}


def test_doctor_says_what_this_kernel_lacks():
    run = run_memtrace("doctor")
    assert run.status == 0 and not run.err, run.err
    found = {what: answer for answer, what in re.findall(r"^(yes|NO) +(.*?)(?: {2,}|$)", run.out, re.MULTILINE)}
    expected = {
        "privileges": "yes",
        "kernel types (BTF)": "yes",
        "ring buffer": "yes",
        "task storage": "yes",
        "uprobes with cookies": "yes",
        "uprobe_multi links": "yes" if HAS_MULTI else "NO",
        "uprobe session links": "NO",  # since 6.13
        "exceptions in place": "yes",  # not in lockdown, as other kernels that this runs on may be
        "pages tier": "yes",
        "resources tier": "yes",
    }
    assert expected.items() <= found.items()
    assert "touched memory, mmap, munmap, mremap, brk" in run.out
    assert HAS_MULTI or re.search(r"^NO +uprobe_multi links .*falls back to one perf event", run.out, re.MULTILINE)
    assert run.out.endswith("memtrace can trace here\n")


def test_an_attach_method_that_is_insisted_on_is_used_or_refused(tmp_path):
    with Target.start("short_lived") as target:
        options = ["--pid", target.ready(), "--attach", "uprobe_multi", "--out", tmp_path / "report"]
        if HAS_MULTI:
            with Tracer(*options) as tracer:
                tracer.wait_following()
        else:
            run = run_memtrace(*options)
            assert run.status == 1 and "uprobe_multi" in run.error()
        target.go()
        target.truth()
        assert target.finish() == 0


def test_descriptors_threads_and_timers_in_every_way(tmp_path):
    check_every_way(tmp_path, 100)


@pytest.mark.parametrize("name", ["map_pages", "map_pages_stripped"])
def test_pages_that_are_touched_and_mapped(tmp_path, name):
    with Target.start(name) as target:
        report, truth = traced(tmp_path, target)
        assert target.finish() == 0, target.stderr()
    pages = report["pages"]
    kept = [size for function, (size, _) in truth.leaks.items() if function != "leak_malloc"]
    held = [site["bytes"] for site in pages["sites"] if site["kind"] != "fault"]
    assert sorted(held) == sorted(kept)
    # Before 6.2 the kernel tells of what a thread touches when it has gathered 64 pages.
    slack = PAGE * (1 + os.cpu_count() if RELEASE >= (6, 2) else 2 * 64)
    touched, returned = (truth.notes[key] * PAGE for key in ("touched_pages", "returned_pages"))
    assert abs(pages["faulted_bytes"] - pages["returned_bytes"] - (touched - returned)) <= slack
    if RELEASE >= (6, 2):
        assert abs(pages["faulted_bytes"] - touched) <= slack
    else:  # totals of two threads that arrive out of order count once up and once down
        assert pages["faulted_bytes"] >= touched - slack
    assert report["coverage"]["lost"] == {}
    assert report["coverage"]["mode"] == ("pages" if name == "map_pages_stripped" else "exact")


def test_the_verifier_accepts_the_programs():
    """The others would fail as well; this one shows where."""
    run = run_memtrace("--quiet", "--", TARGETS / "short_lived", env={**os.environ, "MEMTRACE_LIBBPF_LOG": "1"})
    assert run.status == 0, run.err[-6000:]
    assert "leak leak_quickly 3000 3\n" in run.out


# No program here allocates by code that it loads, or becomes another one, shortly before its end: memtrace, slow as all is, would
# come too late for the names.
LAUNCHED = [
    "family",
    "churn8 --ops 8000",
    "thread_exit",
    "longjmp_out",
    "exception_out --rounds 50",
]


@pytest.mark.parametrize("command", LAUNCHED)
def test_followed_from_its_first_instruction(tmp_path, command):
    name, args = words(command)
    launched = Launched.run(tmp_path, name, args)
    assert launched.status == 0, launched.said
    assert_exact(launched.report, launched.truth, name)


ATTACHED = [
    ("family", "auto"),
    ("churn8 --ops 8000", "auto"),
    ("prior_blocks", "auto"),
    ("exec_self", "auto"),
    ("dlopen_late", "auto"),
    ("live_million --blocks 20000", "auto"),
    *([("churn8 --ops 8000", "perf_event")] if HAS_MULTI else []),
]


@pytest.mark.parametrize("command, method", ATTACHED)
def test_attached_to_a_running_process(tmp_path, command, method):
    name, args = words(command)
    with Target.start(name, args) as target:
        report, truth = traced(tmp_path, target, "--attach", method)
        assert_exact(report, truth, name)
        if truth.live is not None:
            assert live_total(report) == truth.live
        if "allocs" in truth.notes:
            assert (report["totals"]["allocs"], report["totals"]["frees"]) == (truth.notes["allocs"], truth.notes["frees"])
        assert breakpoints(target.pid) == []
        assert target.finish() == 0


def test_followed_children_change_nothing_in_their_parent(tmp_path):
    with Target.start("fork_child") as target:
        with Memtrace.attach(tmp_path, target.ready(), "--follow") as memtrace:
            target.go()
            truth = target.truth()
            reports = memtrace.stop_all()
        parents = [report for report in reports if report["process"]["pid"] == target.pid]
        assert len(parents) == 1
        assert_exact(parents[0], truth, "fork_child")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_detaching_leaves_the_program_as_it_was(ending):
    with Target.start("leak_rate", ["--rate", "20000", "--size", "500", "--duration", "60"]) as target:
        with Tracer("--pid", target.ready(), "--output", "json", "--interval", "1s") as tracer:
            tracer.wait_following()
            target.go()
            tracer.wait_reports(2)
            held = tracer.kernel_objects()
            assert any("libc.so" in place for place in breakpoints(target.pid))
            run = tracer.end(ending)
            assert run.status == (-ending if ending == signal.SIGKILL else 0), run.err
        assert_nothing_left(held)
        assert breakpoints(target.pid) == []
        target.send("stop")
        target.truth()
        assert target.finish() == 0


def without_clock(report):
    return {key: value for key, value in report.items() if key != "time"}


def test_a_recording_replays_to_the_same_report(tmp_path):
    recording = tmp_path / "recording"
    launched = Launched.run(tmp_path, "realloc_cases", options=["--record", recording])
    assert launched.status == 0, launched.said
    assert_exact(launched.report, launched.truth, "realloc_cases")
    run = run_memtrace("replay", recording, "--output", "json")
    assert run.status == 0, run.err
    assert [without_clock(report) for report in run.reports()] == [without_clock(launched.report)]


def test_probes_says_where_it_would_attach():
    with Target.start("family") as target:
        run = run_memtrace("probes", "--pid", target.ready())
        assert run.status == 0, run.err
        assert "libc.so.6" in run.out and "malloc" in run.out
        assert breakpoints(target.pid) == []


def test_the_kernel_has_nothing_to_complain_of():
    """The last test: neither a warning nor worse, of all that went before it."""
    assert Path("/proc/sys/kernel/tainted").read_text(encoding="ascii").strip() == "0", os.popen("dmesg").read()[-4000:]
