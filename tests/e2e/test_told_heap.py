"""A heap that a program tells of itself, by otel_memory:alloc and otel_memory:free, the OpenTelemetry memory contract: estimates against the
truth of the target (tests/targets/told_heap.c; and libmemtrace_alloc.so), when it is listened to, and that nothing stays behind."""

import math

from memtrace_runner import Launched, Memtrace, counters, live_by_function, live_total
from semaphores import Semaphores
from targets import REPOSITORY, TARGETS, Target
from tracer import run_memtrace, wait_until

LIBRARY = REPOSITORY / ".output" / "libmemtrace_alloc.so"
TOLD = ["--allocator", "otel_memory"]
INTERVAL = 65536
# Of all tests together: a false alarm in a hundred thousand runs. 16 estimates by 3 sites at 5.6 standard errors.
LARGEST_Z = 5.6


def weight(size, interval=INTERVAL):
    return size / -math.expm1(-size / interval)


def estimates(report, truth):
    return live_by_function(report, lambda site: truth.function_of(frame["function"] for frame in site["stack"]))


def standard_error(truth):
    """Of all live bytes, as known from sizes and counts."""
    return math.sqrt(sum(size * (weight(size / count) - size / count) for size, count in truth.leaks.values()))


def errors_of(report, truth, interval=INTERVAL):
    """What each leaking function's estimate is off by, bytes and blocks, in standard errors as known from sizes and counts."""
    said = estimates(report, truth)
    errors = []
    for function, (size_all, count) in truth.leaks.items():
        size = size_all / count
        whole = weight(size, interval)
        bytes_, objects = said.get(function, (0, 0))
        errors.append((bytes_ - size_all) / math.sqrt(size_all * (whole - size)))
        errors.append((objects - count) / math.sqrt(count * (whole / size - 1)))
    return errors


def check_total(report, truth):
    assert abs(report["totals"]["live_bytes"] - truth.live[0]) < LARGEST_Z * standard_error(truth)
    assert any(source.startswith("otel_memory:") for source in report["coverage"]["sources"])


def test_estimates_of_many_programs_are_unbiased_and_their_errors_known(tmp_path):
    """16 programs with draws of their own, followed by one memtrace."""
    programs = [Target.start("told_heap", ["--count", "20000", "--older", "50"]) for _ in range(16)]
    try:
        with Memtrace.attach(tmp_path, [program.ready() for program in programs], *TOLD) as memtrace:
            for program in programs:
                program.go()
            truths = {program.ready(): program.truth(300) for program in programs}
            reports = {report["process"]["pid"]: report for report in memtrace.stop_all()}
    finally:
        for program in programs:
            program.close()
    assert len(reports) == 16
    errors = [error for pid, truth in truths.items() for error in errors_of(reports[pid], truth)]
    assert max(map(abs, errors)) < LARGEST_Z, errors
    # Blocks and bytes of one function are one draw: 48 of them. Their mean is unbiased, their spread is what it should be.
    bytes_ = errors[::2]
    assert abs(sum(bytes_)) / math.sqrt(len(bytes_)) < 4.9, bytes_
    assert 0.45 < sum(error * error for error in bytes_) / len(bytes_) < 2.2, bytes_  # 1 +- 5.5 sqrt(2/48), to the left and right of 1
    for pid, report in reports.items():
        coverage, totals, truth = report["coverage"], report["totals"], truths[pid]
        assert coverage["mode"] == "sampled" and abs(coverage["sample_interval_bytes"] - INTERVAL) < 0.03 * INTERVAL
        assert any(source.startswith("otel_memory: alloc, free (told_heap)") for source in coverage["sources"]), coverage["sources"]
        assert not coverage["lost"] and coverage["unmatched_frees"] == 0
        assert {site["allocator"] for site in report["sites"]} == {"otel_memory"}
        # The interval is told with the figures, and as wide as the sizes make it.
        known = standard_error(truth)
        low, high = totals["live_bytes_ci95"]
        assert low <= totals["live_bytes"] <= high
        assert 0.7 < (high - low) / (2 * 1.96 * known) < 1.4
        assert abs(totals["live_bytes"] - truth.live[0]) < LARGEST_Z * known
        assert coverage["overhead"]["hits_per_s"] > 0 and counters(report)["told_heap_hits"] > 100


def test_sites_are_where_the_program_allocates(tmp_path):
    with Target.start("told_heap", ["--count", "20000"]) as target, Memtrace.attach(tmp_path, target.ready(), *TOLD) as memtrace:
        target.go()
        truth = target.truth()
        report = memtrace.stop()
    leaking = [site for site in report["sites"] if site["live_objects"]]
    stacks = [[frame["function"] for frame in site["stack"]] for site in leaking]
    assert all(stack[0] == "arena_alloc" and stack[1] in truth.leaks for stack in stacks), stacks
    balanced = [site for site in report["sites"] if any(frame["function"] == "balanced" for frame in site["stack"])]
    assert balanced and all(site["live_objects"] == 0 and site["frees"] > 0 for site in balanced)


def test_semaphores_are_raised_while_it_listens_and_the_heap_is_whole_again(tmp_path):
    path = TARGETS / "told_heap"
    with Target.start("told_heap", ["--older", "10"]) as target:
        pid = target.ready()
        semaphores = Semaphores(pid, path)
        assert semaphores.are(0)
        with Memtrace.attach(tmp_path, pid, *TOLD) as memtrace:
            assert semaphores.are(1)
            memtrace.stop()
        wait_until(lambda: semaphores.are(0), "the semaphores fall")
        with Memtrace.attach(tmp_path, pid, *TOLD) as memtrace:
            wait_until(lambda: semaphores.are(1), "they rise again")
            memtrace.process.kill()
            memtrace.process.wait()
        wait_until(lambda: semaphores.are(0), "a killed memtrace leaves nothing")
        target.go()
        target.truth()
        assert target.finish() == 0


def test_a_program_without_an_allocator_that_can_be_found_is_listened_to_unasked(tmp_path):
    with Target.start("told_heap_stripped") as target, Memtrace.attach(tmp_path, target.ready(), "--sample", "auto") as memtrace:
        target.go()
        truth = target.truth()
        check_total(memtrace.stop(), truth)


def test_such_a_program_is_listened_to_from_its_first_instruction(tmp_path):
    launched = Launched.run(tmp_path, "told_heap_stripped", ["--count", "5000"], options=["--sample", "auto"], hold=True)
    check_total(launched.report, launched.truth)


def test_a_program_whose_allocator_is_probed_is_not_listened_to(tmp_path):
    """Exact, and once: the library's blocks are not counted on top."""
    env = {"LD_PRELOAD": str(LIBRARY), "MEMTRACE_SAMPLE_INTERVAL": "1000"}
    with Target.start("churn8", ["--ops", "5000"], env=env) as target, Memtrace.attach(tmp_path, target.ready()) as memtrace:
        target.go()
        truth = target.truth()
        assert Semaphores(target.pid, LIBRARY).are(0)
        report = memtrace.stop()
    assert live_total(report) == truth.live
    assert not any("otel_memory" in source for source in report["coverage"]["sources"])
    assert counters(report)["told_heap_hits"] == 0


def test_the_preload_library_tells_of_a_known_leak(tmp_path):
    interval = 4096
    env = {"LD_PRELOAD": str(LIBRARY), "MEMTRACE_SAMPLE_INTERVAL": str(interval)}
    with Target.start("leak_rate", ["--rate", str(40 << 20), "--size", "1000", "--duration", "1"], env=env) as target, \
            Memtrace.attach(tmp_path, target.ready(), *TOLD) as memtrace:
        target.go()
        truth = target.truth()
        report = memtrace.stop()
    size, count = truth.leaks["leak_steadily"]
    said = estimates(report, truth)["leak_steadily"]
    assert abs(said[0] - size) < LARGEST_Z * math.sqrt(size * (weight(1000, interval) - 1000)), (said, size, count)
    leak = max(report["sites"], key=lambda site: site["live_bytes"])
    assert leak["stack"][0]["function"] == "leak_steadily", "the frames of the library are not its caller's"
    assert (leak["allocator"], leak["function"] if "function" in leak else "alloc") == ("otel_memory", "alloc")


def test_auto_listens_in_the_place_of_windows(tmp_path):
    """A loop of malloc and free leaves room for windows only; its program samples itself."""
    env = {"LD_PRELOAD": str(LIBRARY)}
    with Target.start("spin", ["--seconds", "300"], env=env) as target, \
            Memtrace.attach(tmp_path, target.ready(), "--sample", "auto", "--interval", "200ms") as memtrace:
        target.go()
        memtrace.wait_said("tells of a sample of its heap itself")
        report = memtrace.wait_report(lambda report: counters(report)["told_heap_hits"] > 0)
        assert report["coverage"]["mode"] == "sampled"
        assert Semaphores(target.pid, LIBRARY).are(1)
        before = counters(report)["hits_enter"]
        report = memtrace.wait_report(lambda later: counters(later)["told_heap_hits"] > counters(report)["told_heap_hits"])
        assert counters(report)["hits_enter"] == before, "malloc is probed no more"
        memtrace.stop()
        wait_until(lambda: Semaphores(target.pid, LIBRARY).are(0), "the semaphores fall")


def test_an_allocator_that_comes_late_is_not_probed_where_the_program_is_listened_to(tmp_path):
    with Target.start("spin", ["--seconds", "0", "--hold", "--late"], env={"LD_PRELOAD": str(LIBRARY)}) as target, \
            Memtrace.attach(tmp_path, target.ready(), "--sample", "auto", "--interval", "200ms") as memtrace:
        target.go()
        memtrace.wait_said("tells of a sample of its heap itself")
        before = memtrace.wait_report(lambda report: counters(report)["told_heap_hits"] > 0)
        target.send("load")
        assert target.read_line() == "note loaded 1"
        memtrace.wait_report(lambda report: any("liballocator.so" in source for source in report["coverage"]["sources"]))
        target.send("use it")
        assert target.truth().notes["late"] > 0
        report = memtrace.stop()
    assert counters(report)["hits_enter"] == counters(before)["hits_enter"]
    assert {site["allocator"] for site in report["sites"] if site["live_objects"]} <= {"otel_memory"}


def test_launched_from_the_first_instruction(tmp_path):
    launched = Launched.run(tmp_path, "told_heap", ["--count", "5000"], options=TOLD, hold=True)
    assert max(map(abs, errors_of(launched.report, launched.truth))) < LARGEST_Z
    assert launched.status == 0


def test_a_program_without_these_probes_is_refused_in_one_line():
    with Target.start("spin") as target:
        run = run_memtrace("--pid", target.ready(), *TOLD)
    assert run.status == 1
    assert "otel_memory" in run.error()


def test_a_producer_that_knows_nothing_of_memtrace(tmp_path):
    """No semaphores, constants as arguments, 32 bits of size; and a weight by marks, which is less than the block."""
    interval, large, small, blocks = 524288, 700000, 64, 100
    with Target.start("told_plain") as target, Memtrace.attach(tmp_path, target.ready(), *TOLD) as memtrace:
        target.go()
        target.truth()
        report = memtrace.stop()
    said = live_by_function(report, lambda site: site["stack"][0]["function"])
    assert said.keys() == {"leak_large", "leak_small"}
    assert said["leak_large"][0] == said["leak_small"][0] == blocks * interval
    assert abs(said["leak_large"][1] - blocks * interval / large) <= 1
    assert abs(said["leak_small"][1] - blocks * interval / small) <= blocks
    assert abs(report["coverage"]["sample_interval_bytes"] - interval) < 0.01 * interval
    assert counters(report)["told_heap_hits"] == 4 * blocks
    low, high = report["totals"]["live_bytes_ci95"]
    assert low < report["totals"]["live_bytes"] < high


def test_a_producer_that_tells_of_no_frees_is_told_what_is_missing():
    with Target.start("told_alloc_only") as target:
        run = run_memtrace("--pid", target.ready(), *TOLD)
        listed = run_memtrace("probes", "--pid", target.ready(), *TOLD)
    assert run.status == 1
    assert run.error().endswith("told_alloc_only has no probe otel_memory:free, without which it is not known what is held"), run.error()
    assert "has no probe otel_memory:free" in listed.out
