"""memtrace's figures against the truth of the programs in tests/targets: to the byte and to the block, with nothing lost; and where
something has to be lost, the report says what and how much. What each program does: tests/targets/README.md."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from memtrace_runner import MEMTRACE, Launched, Memtrace, counters, live_by_function, live_total, read_reports, wait_for_report
from targets import TARGETS, Target, bare_name, shared_library
from tracer import wait_until

METHODS = ["uprobe_session", "uprobe_multi", "perf_event"]

# Each of them stays at zero unless a case says otherwise. The rest of the counters tells of normal work.
TELLING = ["failed_allocs", "inflight_stale", "nested_misjudged", "replaced_blocks", "unmatched_frees", "unwound_calls"]


@dataclass(frozen=True)
class Case:
    name: str
    args: tuple = ()
    counters: dict = field(default_factory=dict)  # counter -> its value, a key of truth.notes, or a test of (value, truth)
    launched: dict = field(default_factory=dict)  # the same, where launching makes a difference
    whole_stack: bool = False  # the leaking function may be any frame, not only the caller of the allocator
    inner: dict = field(default_factory=dict)  # a library's function that loses its caller -> the leaking function
    unloaded: dict = field(default_factory=dict)  # caller of code that is gone when its name is asked for -> the leaking function
    loads: bool = False  # maps code late: launched, it must live until memtrace knows the names in it

    def __str__(self):
        return " ".join((self.name, *self.args))

    def function_of(self, truth):
        """Sorts sites: the leaking function that one belongs to, None if to none."""

        def find(site):
            names = stack_names(site) if self.whole_stack else caller_names(site)
            above = stack_names(site)[1:2]
            if above and above[0] in self.unloaded:
                return self.unloaded[above[0]]
            return truth.function_of_inner(names) or (self.inner.get(names[0]) if names else None)

        return find


def case(name, *args, **more):
    return Case(name, args, **more)


def stack_names(site):
    return [bare_name(frame["function"]) for frame in site["stack"]]


def caller_names(site):
    """The caller of the allocator and, where that is inlined, what it is inlined into."""
    names = []
    for frame in site["stack"]:
        names.append(bare_name(frame["function"]))
        if not frame["inlined"]:
            break
    return names


def of_libcs_cache(value, truth):
    """At its end each thread frees its cache, and the blocks in that: a bin holds up to seven of a size."""
    return truth.notes["threads"] <= value <= 8 * truth.notes["threads"]


THROWN = {"inflight_stale": "caught", "unwound_calls": "caught", "unmatched_frees": "caught"}  # the exceptions themselves
THROWN_AND_SETUP = {name: lambda value, truth: value == truth.notes["caught"] + 1 for name in THROWN}
ENDED = {"inflight_stale": "ended_in_flight", "unwound_calls": "ended_in_flight", "unmatched_frees": of_libcs_cache}

CASES = [
    case("calloc_overflow", counters={"failed_allocs": "null"}),
    case("churn8", "--ops", "60000"),
    case("churn8", "--ops", "60000", "--seed", "2"),
    case("churn8", "--ops", "60000", "--seed", "3"),
    case("cross_thread_free", "--items", "5000"),
    # operator new for aligned types uses the frame pointer for something else: only unwinding sees its caller.
    case("cxx_new", counters={"failed_allocs": 1}, launched={"failed_allocs": 2}, whole_stack=True),
    case("deep_stack"),
    case("dlopen_late", loads=True),
    case("exception_crew", counters=THROWN, launched=THROWN_AND_SETUP),
    case("exception_out", "--rounds", "50", counters=THROWN, launched=THROWN_AND_SETUP),
    case("exec_self", loads=True),
    case("family", whole_stack=True),
    case("fork_child"),
    case("free_null", "--count", "50000"),
    case("hostile", "--seconds", "1", loads=True, unloaded={"load_and_unload": "leak_in_plugin"}),
    case("inlined"),
    case("leak_rate", "--rate", "200000", "--size", "500", "--duration", "1"),
    case("live_million", "--blocks", "20000"),
    case("longjmp_out", counters={"inflight_stale": "jumps"}),
    case("many_sites"),
    case("memalign_fail", counters={"failed_allocs": lambda value, truth: value == sum(map(truth.notes.get, ("einval", "enomem", "null")))}),
    case("own_malloc", counters={"failed_allocs": 1}, inner={"strdup": "leak_strdup", "__strdup": "leak_strdup"}),
    case("prior_blocks", counters={"unmatched_frees": lambda value, truth: value == truth.notes["prior_frees"] + truth.notes["prior_reallocs"]},
         launched={"unmatched_frees": 0}),
    case("realloc_cases", counters={"failed_allocs": "failed_reallocs"}),
    case("short_lived"),
    case("static_malloc"),
    case("thread_exit", counters=ENDED),
    case("use_malloc", "--ops", "20000", counters={"failed_allocs": 1}),
]

# Placed and taken away one by one, at 50 ms each here: the cases in which the two ways could differ.
ALSO_BY_OTHER_MEANS = {"dlopen_late", "exception_crew", "exec_self", "family", "fork_child", "longjmp_out", "own_malloc", "realloc_cases", "thread_exit"}

# They have tests of their own below or in other files, or nothing to be exact about: spin is for benchmarks.
WITHOUT_CASE = {
    "containers", "contract", "descriptors", "evictable", "frugal", "holder", "many_stacks", "map_pages", "map_pages_stripped", "map_untouched", "misuse",
    "preload_cases", "sdk_cases", "site_paths", "spin", "stacks", "static_stripped", "told_alloc_only", "told_flood", "told_heap", "told_heap_stripped",
    "told_plain", "told_stacks"
}  # fmt: skip


def check_counters(report, truth, expected):
    found = {name: counters(report)[name] for name in TELLING}
    for name, value in found.items():
        wanted = expected.get(name, 0)
        wanted = truth.notes[wanted] if isinstance(wanted, str) else wanted
        good = wanted(value, truth) if callable(wanted) else value == wanted
        assert good, f"{name} is {value}; truth {truth.notes}; all {found}"
    assert report["coverage"]["unmatched_frees"] == found["unmatched_frees"]


def check_nothing_lost(report):
    coverage = report["coverage"]
    assert coverage["mode"] == "exact" and coverage["lost"] == {} and coverage["sample_interval_bytes"] == 0
    total = report["totals"]
    assert total["live_bytes_ci95"] == [total["live_bytes"], total["live_bytes"]]


def allocator_sources(report):
    return [source for source in report["coverage"]["sources"] if not source.startswith(("pages: ", "resources: "))]


def check_sums(report):
    """The parts agree with the whole."""
    total = report["totals"]
    for key in ("live_bytes", "live_objects", "allocs", "frees"):
        assert sum(site[key] for site in report["sites"]) == total[key]
    assert total["allocated_bytes"] - total["freed_bytes"] == total["live_bytes"]
    assert total["allocs"] - total["frees"] == total["live_objects"]
    assert all(site["allocs"] - site["frees"] == site["live_objects"] for site in report["sites"])


def check_attached(report, truth, case_):
    """All that was allocated since go, and nothing else."""
    assert live_by_function(report, case_.function_of(truth)) == truth.leaks
    check_nothing_lost(report)
    check_sums(report)
    check_counters(report, truth, case_.counters)
    if truth.live is not None:
        assert live_total(report) == truth.live
    if "allocs" in truth.notes:
        assert (report["totals"]["allocs"], report["totals"]["frees"]) == (truth.notes["allocs"], truth.notes["frees"])


def is_from_before_go(site, name):
    """Set up by the program (setup_*, crew_*), or by the loader and the libraries: no frame of the program but main and below."""
    if any(function.startswith(("setup_", "crew_")) for function in stack_names(site)):
        return True
    own = [bare_name(frame["function"]) for frame in site["stack"] if frame["module"].endswith(f"/targets/{name}")]
    return not any(function.startswith(("leak_", "do_")) for function in own)


def check_launched(launched, case_):
    """All since the first instruction: what is not of a leaking function is older than go."""
    report, truth = launched.report, launched.truth
    assert launched.status == 0, launched.said
    assert report["process"]["pid"] == launched.pid and report["process"]["state"] == "exited"
    assert report["coverage"]["from_start"]
    function_of = case_.function_of(truth)
    assert live_by_function(report, function_of) == truth.leaks
    check_nothing_lost(report)
    check_sums(report)
    check_counters(report, truth, {**case_.counters, **case_.launched})
    if truth.live is not None:
        strangers = [site for site in report["sites"] if site["live_objects"] and function_of(site) is None]
        assert all(is_from_before_go(site, case_.name) for site in strangers), strangers
        older = [sum(site[key] for site in strangers) for key in ("live_bytes", "live_objects")]
        assert live_total(report) == (truth.live[0] + older[0], truth.live[1] + older[1])


def check_exact_or_said(report, truth, case_):
    """Where probes may come too late: what was missed must not be passed over."""
    found = live_by_function(report, case_.function_of(truth))
    assert found == truth.leaks or report["coverage"]["lost"], f"off, and nothing said: {found} instead of {truth.leaks}"
    for function, live in found.items():
        assert live <= truth.leaks[function]


def run_attached(directory, case_, *options, **start):
    """The last report and the truth of a target that was attached to before go."""
    with Target.start(case_.name, case_.args, **start) as target, Memtrace.attach(directory, target.ready(), *options) as memtrace:
        target.go()
        truth = target.truth()
        if case_.name == "short_lived":  # it does not wait
            report, = memtrace.last_reports()
        else:
            report = memtrace.stop()
        assert target.finish() == 0, target.stderr()
        assert report["process"]["pid"] == target.pid
        return report, truth


def test_every_target_has_a_case():
    sources = [*TARGETS.parents[1].glob("tests/targets/*.c"), *TARGETS.parents[1].glob("tests/targets/*.cpp")]
    assert {source.stem for source in sources} == {case_.name for case_ in CASES} | WITHOUT_CASE
    assert ALSO_BY_OTHER_MEANS < {case_.name for case_ in CASES}


@pytest.mark.parametrize("case_", CASES, ids=str)
def test_attached_before_go(tmp_path, case_):
    report, truth = run_attached(tmp_path, case_)
    check_attached(report, truth, case_)


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("case_", [case_ for case_ in CASES if case_.name in ALSO_BY_OTHER_MEANS], ids=str)
def test_attached_by_other_means(tmp_path, case_, method):
    """Other than by what this kernel has best."""
    report, truth = run_attached(tmp_path, case_, "--attach", method)
    check_attached(report, truth, case_)


@pytest.mark.parametrize("case_", CASES, ids=str)
def test_launched(tmp_path, case_):
    check_launched(Launched.run(tmp_path, case_.name, case_.args, hold=case_.loads), case_)


def test_an_exit_right_after_an_exec_keeps_its_figures(tmp_path):
    """By then there may be nothing left to find names in."""
    for _ in range(5):
        launched = Launched.run(tmp_path, "exec_self")
        assert live_total(launched.report) == launched.truth.leaks["leak_after_exec"]
        assert launched.report["process"]["state"] == "exited"


def test_what_probes_cost_after_an_exec_is_of_the_new_image(tmp_path):
    """The kernel half counts on through an exec. env becomes the target."""
    busy = ["--interval", "200ms", "--", "env", TARGETS / "spin", "--seconds", "300"]
    with Memtrace.start(tmp_path, *busy) as memtrace:
        report = memtrace.wait_report(
            lambda report: report["process"]["comm"] == "spin" and report["coverage"]["overhead"]["hits_per_s"] > 10_000
        )
        os.kill(report["process"]["pid"], signal.SIGKILL)
        memtrace.last_reports()
    overhead = report["coverage"]["overhead"]
    assert overhead["ratio"] > 0 and overhead["trap_ns"] < 1e6, overhead  # all that it does is hits, so the ratio may be its upper bound


# ---- allocators -----------------------------------------------------------------------------------------------------------------

PRELOADED = {"libjemalloc": "jemalloc", "libtcmalloc_minimal": "tcmalloc", "libmimalloc": "mimalloc"}
USE_MALLOC = case("use_malloc", "--ops", "20000", counters={"failed_allocs": 1})


@pytest.mark.parametrize("library", PRELOADED)
def test_another_allocator_attached(tmp_path, library):
    report, truth = run_attached(tmp_path, USE_MALLOC, env={"LD_PRELOAD": shared_library(library)})
    check_attached(report, truth, USE_MALLOC)
    assert {site["allocator"] for site in report["sites"] if site["live_objects"]} == {PRELOADED[library]}


@pytest.mark.parametrize("library", PRELOADED)
def test_another_allocator_launched(tmp_path, library):
    """Through env, which becomes the target."""
    launched = Launched.run(tmp_path, USE_MALLOC.name, USE_MALLOC.args, prefix=["env", f"LD_PRELOAD={shared_library(library)}"])
    if not launched.report["coverage"]["lost"]:
        check_launched(launched, USE_MALLOC)
    check_exact_or_said(launched.report, launched.truth, USE_MALLOC)


@pytest.mark.parametrize("library", PRELOADED)
def test_one_allocator_by_name(tmp_path, library):
    environment = {"LD_PRELOAD": shared_library(library)}
    report, truth = run_attached(tmp_path, USE_MALLOC, "--allocator", PRELOADED[library], env=environment)
    check_attached(report, truth, USE_MALLOC)
    sources = allocator_sources(report)
    assert len(sources) == 1 and library in sources[0]


def test_the_programs_own_allocator_by_name(tmp_path):
    own = next(case_ for case_ in CASES if case_.name == "own_malloc")
    report, truth = run_attached(tmp_path, own, "--allocator", "program")
    check_attached(report, truth, own)
    assert [source.split(":")[0] for source in allocator_sources(report)] == ["own_malloc"]


def test_an_allocator_that_nobody_calls_has_nothing(tmp_path):
    """own_malloc is in libc's place: of libc's functions none is called."""
    report, _ = run_attached(tmp_path, case("own_malloc"), "--allocator", "libc")
    assert live_total(report) == (0, 0) and report["sites"] == []
    assert [source.split(":")[0] for source in allocator_sources(report)] == ["libc.so.6"]


def test_an_allocator_that_is_not_there_is_an_error(tmp_path):
    with Target.start("use_malloc") as target, Memtrace.start(tmp_path, "--pid", target.ready(), "--allocator", "jemalloc") as memtrace:
        assert memtrace.finish() == 1
        assert "jemalloc" in memtrace.said and memtrace.said.count("\n") == 1


def test_a_static_program_without_names_is_an_error_where_an_allocator_is_asked_for(tmp_path):
    options = ["--allocator", "libc"]
    with Target.start("static_stripped") as target, Memtrace.start(tmp_path, "--pid", target.ready(), *options) as memtrace:
        assert memtrace.finish() == 1
        assert f"process {target.pid} (static_stripped)" in memtrace.said and "stripped" in memtrace.said
        assert memtrace.said.startswith("memtrace: ") and memtrace.said.count("\n") == 1
        target.go()
        target.truth()
        assert target.finish() == 0


def test_an_allocator_that_is_loaded_late(tmp_path):
    late = case("dlopen_late", "--allocator")
    report, truth = run_attached(tmp_path, late)
    check_exact_or_said(report, truth, late)
    assert any("liballocator.so" in source for source in report["coverage"]["sources"])


# ---- what does not fit, and what can be counted only -----------------------------------------------------------------------------


def test_a_full_map_says_what_is_missing(tmp_path):
    blocks, room = 50_000, 20_000
    options = ["--max-live", room, "--snapshot-dir", tmp_path / "snapshots", "--snapshot-format", "json,text"]
    report, truth = run_attached(tmp_path, case("live_million", "--blocks", str(blocks)), *options)
    lost, total = report["coverage"]["lost"], report["totals"]
    assert total["live_objects"] == room and set(lost) == {"live_full", "live_full_bytes"}
    assert lost["live_full"] == blocks - room
    assert lost["live_full_bytes"] == truth.live[0] - total["live_bytes"]
    assert total["live_bytes_ci95"] == [total["live_bytes"], truth.live[0]]
    check_sums(report)
    for function, found in live_by_function(report, case("live_million").function_of(truth)).items():
        assert found <= truth.leaks[function]
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "snapshots").iterdir() if path.suffix != ".json"]
    assert len(texts) == 1
    for words in ("LOST", f"live_full {blocks - room:,}", f"live_full_bytes {lost['live_full_bytes']:,}", "off by what was lost"):
        assert words in texts[0], texts[0]


def test_room_is_made_by_frees(tmp_path):
    """Far more allocations than the map holds, but never so many at once."""
    churn = case("churn8", "--ops", "60000", "--seed", "4")
    report, truth = run_attached(tmp_path, churn, "--max-live", 2000)
    check_attached(report, truth, churn)


@pytest.mark.timeout(90)
def test_a_million_live_blocks(tmp_path, capsys):
    with Target.start("live_million") as target, Memtrace.attach(tmp_path, target.ready()) as memtrace:
        target.go()
        truth = target.truth()
        begin = time.monotonic()
        report = memtrace.stop()
        elapsed_s = time.monotonic() - begin
        assert target.finish() == 0
    check_attached(report, truth, case("live_million"))
    assert truth.live[1] == 1_000_000
    kernel_mb = report["coverage"]["kernel_bytes"] / 1e6
    with capsys.disabled():
        print(f"\na million live blocks: last report and end in {elapsed_s:.2f} s, "
              f"collector {memtrace.peak_rss_bytes / 1e6:.0f} MB, kernel maps {kernel_mb:.0f} MB")
    assert 0 < memtrace.peak_rss_bytes < 200e6


@pytest.mark.parametrize("name", ["longjmp_out", "exception_out"])
def test_calls_that_the_kernel_gives_no_return_of_are_shown(tmp_path, name):
    """64 abandoned calls at once: from there on the kernel sets no more return probes in the thread."""
    report, truth = run_attached(tmp_path, case(name, "--pile", "64"))
    missing = truth.live[1] - report["totals"]["live_objects"]
    assert missing > 0
    assert report["coverage"]["lost"]["returns_refused"] >= missing
    for function, found in live_by_function(report, case(name).function_of(truth)).items():
        assert found <= truth.leaks[function]
    low, high = report["totals"]["live_bytes_ci95"]
    assert low <= truth.live[0] <= high


def test_deep_stacks_are_cut_below_the_caller(tmp_path):
    for frames in (1, 8, 64):
        report, truth = run_attached(tmp_path, case("deep_stack"), "--max-frames", frames)
        check_attached(report, truth, case("deep_stack"))
        stacks = {stack_names(site)[0]: site for site in report["sites"]}
        assert set(stacks) == {"leak_deep", "leak_shallow"}
        deep = stacks["leak_deep"]
        assert stack_names(deep) == ["leak_deep", *["recurse"] * (frames - 1)] and deep["stack_truncated"]


def test_sites_are_told_apart(tmp_path):
    report, truth = run_attached(tmp_path, case("many_sites"))
    assert len(truth.leaks) == 2000 == len(report["sites"]) == len({site["id"] for site in report["sites"]})
    for site in report["sites"]:
        function, line = site["stack"][0]["function"], site["stack"][0]["line"]
        assert (site["live_bytes"], site["live_objects"]) == truth.leaks[function] and line > 0


@pytest.mark.parametrize("age, counts", [("0s", True), ("1h", False)])
def test_blocks_count_from_their_age_on(tmp_path, age, counts):
    some = case("live_million", "--blocks", "2000")
    report, truth = run_attached(tmp_path, some, "--min-age", age)
    assert live_total(report) == (truth.live if counts else (0, 0))
    assert report["totals"]["allocs"] == truth.notes["allocs"]


def test_blocks_come_of_age(tmp_path):
    with Target.start("live_million", ["--blocks", "2000"]) as target, \
            Memtrace.attach(tmp_path, target.ready(), "--min-age", "500ms", "--interval", "100ms") as memtrace:
        target.go()
        truth = target.truth()
        young = memtrace.wait_report(lambda report: report["totals"]["allocs"] == truth.notes["allocs"])
        old = memtrace.wait_report(lambda report: live_total(report) == truth.live)
        assert old["duration_s"] - young["duration_s"] >= 0 and old["duration_s"] >= 0.5


# ---- several processes, several tracers ------------------------------------------------------------------------------------------


def test_two_processes(tmp_path):
    first, second = case("churn8", "--ops", "20000"), case("realloc_cases", counters={"failed_allocs": "failed_reallocs"})
    with Target.start(first.name, first.args) as one, Target.start(second.name) as two, \
            Memtrace.attach(tmp_path, [one.ready(), two.ready()]) as memtrace:
        one.go()
        two.go()
        truths = {one.pid: (one.truth(), first), two.pid: (two.truth(), second)}
        reports = memtrace.stop_all()
    assert sorted(report["process"]["pid"] for report in reports) == sorted(truths)
    for report in reports:
        check_attached(report, *truths[report["process"]["pid"]])


def test_processes_by_name(tmp_path):
    name = f"mt{os.getpid()}"  # nobody else's
    shutil.copy(TARGETS / "many_sites", tmp_path / name)
    with Target.start(tmp_path / name) as one, Target.start(tmp_path / name) as two:
        pids = {one.ready(): one, two.ready(): two}
        with Memtrace.start(tmp_path, "--comm", name) as memtrace:
            memtrace.wait_following()
            for target in pids.values():
                target.go()
            truths = {pid: target.truth() for pid, target in pids.items()}
            reports = memtrace.stop_all()
    assert sorted(report["process"]["pid"] for report in reports) == sorted(pids)
    for report in reports:
        check_attached(report, truths[report["process"]["pid"]], case("many_sites"))


@pytest.mark.parametrize("case_, method", [
    *((case_, "uprobe_multi") for case_ in CASES if case_.name in {"family", "exception_crew", "exception_out", "longjmp_out", "prior_blocks", "thread_exit"}),
    *((case_, "perf_event") for case_ in CASES if case_.name in {"family", "exception_out"}),
    *((case_, "uprobe_session") for case_ in CASES if case_.name in {"family", "exception_out", "longjmp_out"}),
], ids=str)
def test_two_tracers_of_one_process(tmp_path, case_, method):
    with Target.start(case_.name, case_.args) as target, \
            Memtrace.attach(tmp_path, target.ready(), name="one") as one, \
            Memtrace.attach(tmp_path, target.pid, "--attach", method, name="two") as two:
        target.go()
        truth = target.truth()
        reports = [one.stop(), two.stop()]
        assert target.finish() == 0, target.stderr()
    for report in reports:
        check_attached(report, truth, case_)


def test_children_are_left_alone(tmp_path):
    """Not asked for: their frees of what they inherited must not count for the parent either."""
    report, truth = run_attached(tmp_path, case("fork_child"))
    check_attached(report, truth, case("fork_child"))
    assert all("allocate_in_child" not in stack_names(site) for site in report["sites"])


def test_children_are_followed_when_asked_for(tmp_path):
    with Target.start("fork_child") as target, Memtrace.attach(tmp_path, target.ready(), "--follow") as memtrace:
        target.go()
        truth = target.truth()
        reports = memtrace.stop_all()
        assert target.finish() == 0, target.stderr()
    parent, = [report for report in reports if report["process"]["pid"] == target.pid]
    check_attached(parent, truth, case("fork_child"))
    for child in reports:
        if child is not parent:  # gone within a millisecond: what was seen of it must be its own
            assert all(stack_names(site)[0] == "allocate_in_child" for site in child["sites"])
            assert child["totals"]["live_objects"] <= 200


def test_a_child_is_exact_from_when_it_is_followed(tmp_path):
    """A shell forks the target, which execs."""
    out = tmp_path / "report.json"
    churn = case("churn8", "--ops", "20000")
    prefix = [MEMTRACE, "--follow", "--output", "json", "--interval", "100ms", "--out", out, "--", "sh", "-c", '"$@"; exit $?', "sh"]
    with Target.start(churn.name, churn.args, prefix=prefix) as target:
        pid = target.ready()
        wait_for_report(out, lambda report: report["process"]["pid"] == pid and report["process"]["comm"] == "churn8", target.process)
        target.go()
        truth = target.truth()
        assert target.finish() == 0, target.stderr()
    child, = [report for report in read_reports(out) if report["process"]["pid"] == pid]
    assert live_by_function(child, churn.function_of(truth)) == truth.leaks
    assert set(child["coverage"]["lost"]) <= {"attached_late"}  # how much of its start was seen is a matter of luck


# ---- attached in the middle -----------------------------------------------------------------------------------------------------

# churn8: what its threads hold and what lies in the exchange, and a call in flight in each thread.
CHURN_LIVE_AT_MOST = 8 * 128 + 64 + 8


def check_middle(report):
    """What must hold without knowing the truth of the moment."""
    check_nothing_lost(report)
    check_sums(report)
    found = counters(report)
    assert found["replaced_blocks"] == found["inflight_stale"] == found["failed_allocs"] == 0
    assert found["unmatched_frees"] <= CHURN_LIVE_AT_MOST  # each block from before once
    assert 0 < report["totals"]["live_objects"] <= CHURN_LIVE_AT_MOST
    assert all(stack_names(site)[0].startswith("leak_churn_") for site in report["sites"])


@pytest.mark.parametrize("method", METHODS)
def test_attaching_and_detaching_while_threads_churn(tmp_path, method):
    with Target.start("churn8", ["--ops", str(10**12)]) as target:
        target.go()
        for attempt in range(2 if method == "perf_event" else 4):
            name = f"attempt{attempt}"  # an old report would be taken for a new one
            with Memtrace.attach(tmp_path, target.ready(), "--attach", method, "--interval", "100ms", name=name) as memtrace:
                memtrace.wait_report(lambda report: report["totals"]["frees"] > 1000)
                check_middle(memtrace.stop())
            assert target.alive(), target.stderr()
        target.process.send_signal(signal.SIGTERM)
        assert target.process.wait(timeout=30) == -signal.SIGTERM and target.stderr() == ""


def test_a_target_that_throws_is_left_running(tmp_path):
    """Some thread is about to unwind whenever memtrace leaves: it must not stay stopped, nor meet a return address of the kernel's."""
    with Target.start("exception_crew", ["--rounds", "1000000000"]) as target:
        stat = Path(f"/proc/{target.ready()}/stat")
        target.go()

        def state_and_cpu():
            fields = stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            return fields[0], int(fields[11]) + int(fields[12])

        for round_ in range(3):
            with Memtrace.attach(tmp_path, target.pid, name=f"round{round_}") as memtrace:
                memtrace.stop()
            _, before = state_and_cpu()
            wait_until(lambda: state_and_cpu()[1] > before + 5, lambda: f"the target to go on: it is {state_and_cpu()[0]}", timeout=10)
        assert target.process.poll() is None, target.stderr()


@pytest.mark.parametrize("method", METHODS)
def test_a_second_tracer_comes_and_goes(tmp_path, method):
    """The first has it all; the second what came after it, and neither disturbs the other."""
    churn = case("churn8", "--ops", "800000", "--seed", "9")
    with Target.start(churn.name, churn.args) as target, Memtrace.attach(tmp_path, target.ready(), name="first") as first:
        target.go()
        for name in () if method == "perf_event" else ("second", "third"):
            with Memtrace.attach(tmp_path, target.pid, "--attach", method, name=name) as passing:
                passing.stop()
        with Memtrace.attach(tmp_path, target.pid, "--attach", method, name="last") as last:
            truth = target.truth()
            report, late = first.stop(), last.stop()
        assert target.finish() == 0, target.stderr()
    check_attached(report, truth, churn)
    check_nothing_lost(late)
    assert counters(late)["replaced_blocks"] == counters(late)["inflight_stale"] == 0
    for function, (size, count) in live_by_function(late, churn.function_of(truth)).items():
        assert size <= truth.leaks[function][0] and count <= truth.leaks[function][1]
    assert truth.live[1] - late["totals"]["live_objects"] <= CHURN_LIVE_AT_MOST


def test_reports_in_between_change_nothing(tmp_path):
    churn = case("churn8", "--ops", "600000", "--seed", "5")
    options = ["--interval", "100ms", "--snapshot-dir", tmp_path / "snapshots", "--snapshot-interval", "100ms"]
    report, truth = run_attached(tmp_path, churn, *options)
    check_attached(report, truth, churn)
    snapshots = [read_reports(path)[0] for path in sorted((tmp_path / "snapshots").glob("*.json"))]
    assert len(snapshots) > 1
    last = max(snapshots, key=lambda snapshot: snapshot["time"])
    assert last["totals"] == report["totals"] and [site["id"] for site in last["sites"]] == [site["id"] for site in report["sites"]]
