"""The pages tier: what touches and maps memory, to the page, where malloc is watched and where it cannot be. What map_pages does:
tests/targets/README.md."""

import os
import re
from pathlib import Path

import pytest

from memtrace_runner import Launched, Memtrace, counters, live_by_function
from targets import Target, bare_name
from tracer import PAGE, Tracer, run_memtrace

# What a processor, and the process, had when they were first looked at is what counting begins with: the change that made them look is
# not counted. A page each here, for the threads that ran on them.
SLACK = PAGE * (1 + os.cpu_count())

MAPPING = ["leak_touched", "leak_reserved", "leak_quarter", "leak_moved"]


def names(site):
    return [bare_name(frame["function"]) for frame in site["stack"]]


def by_function(report, kinds, functions, key="bytes"):
    """The bytes of the sites of these kinds, by the first of the functions in their stacks."""
    found = {}
    for site in report["pages"]["sites"]:
        function = next((name for name in names(site) if name in functions), None)
        if site["kind"] in kinds and function:
            found[function] = found.get(function, 0) + site[key]
    return found


def run_attached(directory, name, *args, options=()):
    with Target.start(name, args) as target, Memtrace.attach(directory, target.ready(), *options) as memtrace:
        target.go()
        truth = target.truth()
        report = memtrace.stop()
        assert target.finish() == 0, target.stderr()
        return report, truth, memtrace.said


def anonymous_bytes(pid):
    """The kernel's own walk over the page tables."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"^Anonymous: +(\d+) kB$", text, re.MULTILINE)[1]) * 1024


def check_totals(report, truth):
    pages = report["pages"]
    touched = truth.notes["touched_pages"] * PAGE
    assert touched - SLACK <= pages["faulted_bytes"] <= touched + SLACK
    returned = truth.notes["returned_pages"] * PAGE
    assert returned <= pages["returned_bytes"] <= returned + SLACK
    kept = sum(truth.leaks[function][0] for function in [*MAPPING, "leak_break"])
    assert pages["mapped_bytes"] - pages["unmapped_bytes"] == kept
    assert sum(site["bytes"] for site in pages["sites"] if site["kind"] != "fault") == kept
    touched_by_sites = sum(site["bytes"] for site in pages["sites"] if site["kind"] == "fault")
    assert touched_by_sites == pages["faulted_bytes"]
    assert report["coverage"]["lost"] == {}
    assert pages["sites"] == sorted(pages["sites"], key=lambda site: (-site["bytes"], site["id"]))


def check_sites(report, truth, pages):
    leaks = {function: size for function, (size, _) in truth.leaks.items()}
    assert by_function(report, ["mmap"], MAPPING) == {function: leaks[function] for function in MAPPING}
    assert by_function(report, ["brk"], ["leak_break"]) == {"leak_break": leaks["leak_break"]}
    assert by_function(report, ["brk"], ["leak_break"], "returned_bytes") == {"leak_break": leaks["leak_break"]}
    rounds = 4
    expected = {"leak_touched": pages, "leak_quarter": pages * rounds, "leak_break": pages, "do_read": pages - 1}
    found = by_function(report, ["fault"], expected)
    assert found.keys() == expected.keys()
    for function, count in expected.items():
        assert count * PAGE - SLACK <= found[function] <= count * PAGE + PAGE, function


def check_heap(report, truth):
    """Exact at the same time."""
    found = live_by_function(report, lambda site: next((name for name in names(site) if name.startswith("leak_")), None))
    assert found == {"leak_malloc": truth.leaks["leak_malloc"]}
    assert report["coverage"]["mode"] == "exact"


@pytest.mark.parametrize("pages", [100, 1000])
def test_sites_hold_what_the_program_holds(tmp_path, pages):
    report, truth, _ = run_attached(tmp_path, "map_pages", "--pages", pages)
    check_sites(report, truth, pages)
    check_totals(report, truth)
    check_heap(report, truth)
    assert any(source.startswith("libc.so.6: ") for source in report["coverage"]["sources"])
    assert report["coverage"]["sources"][-1] == "resources: descriptors, threads, timers"
    assert report["coverage"]["sources"][-2] == report["pages"]["sources"][0] == "pages: touched memory, mmap, munmap, mremap, brk"


def test_the_top_of_a_stack_is_the_instruction_that_touched_the_memory(tmp_path):
    report, _, _ = run_attached(tmp_path, "map_pages")
    touching = [site for site in report["pages"]["sites"] if site["kind"] == "fault" and "leak_touched" in names(site)]
    assert [names(site)[:3] for site in touching] == [["touch", "leak_touched", "main"]]
    assert touching[0]["stack"][0]["file"].endswith("map_pages.c") and touching[0]["stack"][0]["line"] > 0


def test_a_launched_program_from_its_first_instruction(tmp_path):
    launched = Launched.run(tmp_path, "map_pages", hold=True)
    assert launched.status == 0, launched.said
    check_sites(launched.report, launched.truth, 1000)
    found = live_by_function(launched.report, lambda site: next((name for name in names(site) if name.startswith("leak_")), None))
    assert found == {"leak_malloc": launched.truth.leaks["leak_malloc"]}


def test_a_program_without_an_allocator_that_can_be_found(tmp_path):
    report, truth, said = run_attached(tmp_path, "map_pages_stripped")
    assert "has no function of malloc" in said and "pages only" in said
    assert report["coverage"]["mode"] == "pages" and report["sites"] == [] and report["verdict"]["class"] == "unknown"
    assert report["coverage"]["sources"] == [*report["pages"]["sources"], "resources: descriptors, threads, timers"]
    check_totals(report, truth)
    kept = sorted(site["bytes"] for site in report["pages"]["sites"] if site["kind"] != "fault")
    assert kept == sorted(truth.leaks[function][0] for function in [*MAPPING, "leak_break"])
    assert all(len(site["stack"]) >= 3 for site in report["pages"]["sites"])


def test_a_small_program_without_an_allocator_can_be_followed(tmp_path):
    report, _, _ = run_attached(tmp_path, "static_stripped")
    assert report["coverage"]["mode"] == "pages" and report["coverage"]["lost"] == {}


@pytest.mark.parametrize("huge", [0, 1], ids=["small pages", "huge pages"])
def test_resident_growth_is_the_kernels(tmp_path, huge):
    """Whatever the size of the pages behind it."""
    with Target.start("map_pages", ["--pages", "4000", "--huge", huge]) as target, Memtrace.attach(tmp_path, target.ready()) as memtrace:
        before = anonymous_bytes(target.pid)
        target.go()
        target.truth()
        grown = anonymous_bytes(target.pid) - before
        pages = memtrace.stop()["pages"]
        assert abs(pages["faulted_bytes"] - pages["returned_bytes"] - grown) <= SLACK + (2 << 20 if huge else 0)
        assert target.finish() == 0, target.stderr()


def test_the_heap_of_libc_is_seen_from_both_sides(tmp_path):
    report, truth, _ = run_attached(tmp_path, "live_million", "--blocks", "50000")
    assert (report["totals"]["live_bytes"], report["totals"]["live_objects"]) == truth.live
    grown = report["pages"]["faulted_bytes"] - report["pages"]["returned_bytes"]
    assert truth.live[0] - SLACK <= grown
    assert sum(site["bytes"] for site in report["pages"]["sites"] if site["kind"] == "brk") >= truth.live[0] - SLACK


def test_threads_that_map_and_unmap_add_up(tmp_path):
    """Eight threads' arenas and stacks come and go: what is unmapped was mapped, and is some site's."""
    report, truth, _ = run_attached(tmp_path, "churn8", "--ops", "20000")
    assert (report["totals"]["live_bytes"], report["totals"]["live_objects"]) == truth.live
    pages = report["pages"]
    held = sum(site["bytes"] for site in pages["sites"] if site["kind"] != "fault")
    assert pages["mapped_bytes"] - pages["unmapped_bytes"] == held
    assert pages["unmapped_bytes"] <= pages["mapped_bytes"]


def test_counters_of_the_tier_are_told(tmp_path):
    report, _, _ = run_attached(tmp_path, "map_pages")
    names_ = ["pages_sites_full", "pages_stacks_full", "pages_state_lost", "pages_records_lost"]
    assert [counters(report)[name] for name in names_] == [0, 0, 0, 0]


@pytest.mark.parametrize("format_", ["text", "json"])
def test_replay_says_the_same(tmp_path, format_):
    recording = tmp_path / "recording"
    with Target.start("map_pages_stripped") as target:
        with Tracer("--pid", target.ready(), "--output", format_, "--record", recording) as tracer:
            tracer.wait_following()
            target.go()
            target.truth()
            assert target.finish() == 0
            live = tracer.end()
    assert live.status == 0, live.err
    assert "pages" in live.out
    again = run_memtrace("replay", recording, "--output", format_)
    assert (again.status, again.err, again.out) == (0, "", live.out)


def test_doctor_names_the_tier():
    assert re.search(r"^yes +pages tier +touched memory, mmap, munmap, mremap, brk$", run_memtrace("doctor").out, re.MULTILINE)


@pytest.mark.parametrize("unmaps", [False, True], ids=["kept", "unmapped"])
def test_what_is_mapped_and_never_touched_is_in_the_text(tmp_path, unmaps):
    recording = tmp_path / "map.rec"
    run_attached(tmp_path, "map_untouched", *(["--unmap"] if unmaps else []), options=["--record", recording])
    replayed = run_memtrace("replay", recording, "--output", "text")
    assert replayed.status == 0
    if unmaps:
        assert "mapping memory" not in replayed.out and " mapped," not in replayed.out
        return
    assert re.search(r"^ +40\.0 MiB mapped, 0 B of it unmapped$", replayed.out, re.MULTILINE), replayed.out
    assert "it goes on mapping memory and keeps it, touched or not" in replayed.out
    stack = re.search(r"^    40\.0 MiB mapped, \S+ MiB/s, 40 times, site .*\n((?: {6}#.*\n)+)", replayed.out, re.MULTILINE)
    assert stack and re.search(r"^ +#\d+ reserve \(", stack[1], re.MULTILINE), replayed.out
