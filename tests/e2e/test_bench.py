"""The arithmetic and the tables of tests/bench: what is made of measurements; and one short measurement, for the harness itself."""

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tracer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import arms  # noqa: E402
import figures  # noqa: E402
import overhead  # noqa: E402
import servers  # noqa: E402
import tables  # noqa: E402
import targets_met  # noqa: E402
import workloads  # noqa: E402


def sample(cpu_ns, wall_ns=None, said=None):
    return {"wall_ns": wall_ns or cpu_ns, "cpu_ns": cpu_ns, "said": said}


def said(ratio, estimate=None):
    return {"ratio": ratio, "estimate": estimate, "mode": "exact", "sample_interval_bytes": 0}


def test_spread_is_median_and_quartiles():
    assert figures.spread([5, 1, 3, 2, 4]) == figures.Spread(3, 2, 4)
    assert figures.spread([1, 2]) == figures.Spread(1.5, 1.25, 1.75)
    assert figures.spread([7]) == figures.Spread(7, 7, 7)
    assert figures.spread([]) is None


def test_ratios_pair_measurements_of_one_round():
    # The machine was twice as slow in the second round, for both: medians of each alone would not say 1.1.
    assert figures.paired_ratios([11, 22], [10, 20]) == [1.1, 1.1]
    assert figures.paired_ratios([11, None, 33], [10, 20, None]) == [1.1]


def test_window_mean_weighs_reports_by_their_share_of_the_window():
    reports = [(5.0, 0.4), (10.0, 0.2), (12.0, 0.1)]
    assert figures.window_mean(reports, 0, 5) == pytest.approx(0.4)
    assert figures.window_mean(reports, 6, 9) == pytest.approx(0.2)
    assert figures.window_mean(reports, 4, 11) == pytest.approx((0.4 + 5 * 0.2 + 0.1) / 7)
    assert figures.window_mean(reports, 11, 99) == pytest.approx(0.1)
    assert figures.window_mean(reports, 13, 14) is None
    assert figures.window_mean([], 0, 1) is None


def test_what_is_said_and_what_is_seen_are_made_comparable():
    # An operation of 100 ns own time to which probes add 25: a fifth of its CPU time is theirs, it is 1.25 times as slow.
    exactly = figures.agreement(0.2, 1.25)
    assert exactly["share_seen"] == pytest.approx(0.2)
    assert exactly["added_quotient"] == pytest.approx(1)
    assert exactly["slowdown_said"] == pytest.approx(1.25)
    assert exactly["slowdown_quotient"] == pytest.approx(1)
    # Half of it said: time added is off by 2, which the whole time hides.
    half = figures.agreement(0.1, 1.25)
    assert half["added_quotient"] == pytest.approx(0.5)
    assert half["slowdown_quotient"] == pytest.approx(1 / 0.9 / 1.25)


def test_agreement_where_nothing_is_seen_or_everything_is_said():
    assert figures.agreement(0.01, 0.98)["added_quotient"] is None
    assert figures.agreement(1.0, 190)["slowdown_quotient"] is None
    assert figures.agreement(1.0, 190)["added_quotient"] == pytest.approx(1 / (1 - 1 / 190))


def test_arms_are_compared_with_the_base_of_the_same_round():
    compared = figures.compare({"none": [sample(100, 200), sample(120, 240)], "exact": [sample(150, 400), None]})
    assert compared["exact"]["cpu_slowdown"] == {"median": 1.5, "low": 1.5, "high": 1.5}
    assert compared["exact"]["slowdown"]["median"] == 2
    assert compared["none"]["cpu_slowdown"]["median"] == 1 and compared["none"]["cpu_slowdown"]["high"] > 1
    assert "said" not in compared["exact"]


def test_a_workload_that_says_nothing_of_time_is_compared_by_cpu_time():
    compared = figures.compare({"none": [{"wall_ns": None, "cpu_ns": 3.0, "said": None}],
                                "exact": [{"wall_ns": None, "cpu_ns": 6.0, "said": None}]})
    assert compared["exact"]["slowdown"] is None and compared["exact"]["cpu_slowdown"]["median"] == 2


def test_a_ratio_said_to_be_all_is_compared_by_the_estimate_behind_it():
    taken = {"none": [sample(100)] * 3, "exact": [sample(10_000, said=said(1.0, 1.5))] * 3}
    assert figures.compare(taken)["exact"]["said"]["agreement"]["added_quotient"] == pytest.approx(1.5 / 0.99)
    taken["exact"] = [sample(200, said=said(0.5, 0.7))] * 3  # not at the bound: what was said counts
    assert figures.compare(taken)["exact"]["said"]["agreement"]["added_quotient"] == pytest.approx(1)


def test_arms_without_a_base_or_without_samples():
    compared = figures.compare({"none": [None, None], "exact": [sample(100), sample(200)]})
    assert compared["exact"]["cpu_ns"]["median"] == 150 and compared["exact"]["cpu_slowdown"] is None
    assert compared["none"]["cpu_ns"] is None


@pytest.mark.parametrize("value, text", [(0, "0.000"), (0.97149, "0.971"), (1.034, "1.03"), (35.24, "35.2"), (188.4, "188"), (12345.6, "12,346"),
                                         (None, "-")])
def test_figures_are_written_with_three_digits(value, text):
    assert tables.significant(value) == text


@pytest.mark.parametrize("value, text", [(7.1, "7.10 ns"), (1340, "1.34 us"), (2.9e8, "290 ms"), (1.35e9, "1.35 s")])
def test_times_are_written_with_their_unit(value, text):
    assert tables.nanoseconds(value) == text


def report_of(pid, duration_s, ratio, hits_per_s=0.0, trap_ns=0.0):
    overhead_ = {"ratio": ratio, "hits_per_s": hits_per_s, "trap_ns": trap_ns}
    coverage = {"overhead": overhead_, "mode": "exact", "sample_interval_bytes": 0, "lost": {}}
    return {"process": {"pid": pid}, "duration_s": duration_s, "coverage": coverage, "verdict": {"class": "unknown"}}


def listener_of(*reports):
    listener = arms.Reports(attached_at=100.0)
    run = types.SimpleNamespace(reports=lambda: list(reports), err="memtrace: attached to process 1\nmemtrace: sampling from here on\n")
    listener.take(run)
    return listener


def test_what_is_said_is_that_of_the_time_measured_and_the_mean_of_the_processes():
    listener = listener_of(report_of(1, 5, 0.9), report_of(2, 5, 0.9), report_of(1, 8, 0.1), report_of(2, 8, 0.3))
    found = listener.said(106.0, 108.0)
    assert found["ratio"] == pytest.approx(0.2) and found["estimate"] is None
    assert found["messages"] == ["memtrace: sampling from here on"]
    assert listener.said(109.0, 110.0) is None


def test_the_estimate_behind_the_ratio_is_hits_times_their_cost_over_cpu_time():
    listener = listener_of(report_of(1, 5, 1.0, hits_per_s=1e6, trap_ns=600))
    assert listener.said(101.0, 104.0, cpus=0.5)["estimate"] == pytest.approx(1.2)


def test_a_text_that_is_not_as_before_is_an_error():
    before = {tracer.Mapping(0, 1, 0, "/lib/a"): "1", tracer.Mapping(1, 2, 0, "/lib/b"): "2"}
    arms.compare_texts(before, {**before, tracer.Mapping(2, 3, 0, "/lib/new"): "3"})
    with pytest.raises(RuntimeError, match="/lib/b"):
        arms.compare_texts(before, {**before, tracer.Mapping(1, 2, 0, "/lib/b"): "other"})


def result_of(better, taken, missing=()):
    workload = {"what": "work", "better": better, "arms": figures.compare(taken), "missing": dict(missing), "failed": {}}
    return {"workloads": {"work": workload}, "collector": {}}


def test_markdown_shows_throughput_kept_or_times_slower():
    taken = {"none": [sample(100)], "exact": [sample(125, said=said(0.2))]}
    slower = tables.markdown(result_of("time", taken, {"bpftrace": "not there"})).splitlines()
    assert slower[0] == "| what | an operation without | exact |"
    assert slower[1] == "| --- | ---: | ---: |"
    assert slower[2] == "| work | 100 ns | 125 ns, 1.25 x |"
    assert slower[-1] == "| work, exact | 20.0% | 20.0% | 1.00 | 1.00 | yes |"
    assert "| work | 100 ns | 0.800 |" in tables.markdown(result_of("throughput", taken))


def test_markdown_says_where_said_and_seen_disagree():
    taken = {"none": [sample(100)], "exact": [sample(125, said=said(0.1))]}
    assert tables.markdown(result_of("time", taken)).endswith("| work, exact | 10.0% | 20.0% | 0.500 | 0.889 | no |")


def test_terminal_table_names_what_is_missing():
    text = tables.describe("work", result_of("time", {"none": [sample(100)], "exact": []}, {"bpftrace": "not there"})["workloads"]["work"])
    assert "bpftrace: not measured: not there" in text
    assert not any(line.strip().startswith("exact") for line in text.splitlines())


def test_targets_are_judged_by_ratios_within_a_round():
    pairs = {"what": "a pair", "samples": {"floor": [sample(100), sample(200)], "exact": [sample(125), sample(250)], "bpftrace": [None, None]}}
    pgbench = {"what": "pgbench", "samples": {"none": [sample(100)], "exact": [sample(125)]}}
    assert targets_met.target_rows({"pairs": pairs, "pgbench": pgbench}) == [
        ["a pair: exact / floor", "<= 1.30", "1.250", "1.250", "yes"],
        ["a pair: exact / bpftrace", "<= 0.25", "-", "-", "not measured"],
        ["pgbench: exact / none", ">= 0.95", "0.800", "0.800", "no"],
        ["pgbench: auto / none", ">= 0.97", "-", "-", "not measured"],
    ]


def test_targets_name_arms_that_their_workload_is_measured_under():
    known = {workload.name: workload.arms for workload in workloads.all_workloads()}
    for target in targets_met.TARGETS:
        assert {target.arm, target.against} <= set(known[target.workload])


def test_marks_give_time_of_an_operation_for_each_lane():
    begin, end = servers.Mark(100, 1_000_000, 50_000), servers.Mark(300, 3_000_000, 850_000)
    assert end.per_operation_since(begin) == (10_000, 4_000)
    assert end.per_operation_since(begin, lanes=4) == (40_000, 4_000)
    with pytest.raises(RuntimeError):
        begin.per_operation_since(begin)


def test_a_reply_of_redis_is_read_to_its_end():
    whole = b"$11\r\nhello\r\nyou!\r\n"
    assert servers.complete_reply(whole)
    assert not any(servers.complete_reply(whole[:length]) for length in range(len(whole)))


class Workload:
    name, arms, restarts = "work", ["none", "exact", "heaptrack"], False

    def processes(self):
        return 2


class Tool:
    launches = False

    def __init__(self, name, missing=None, refuses=None, launches=False):
        self.name, self.launches = name, launches
        self._missing, self._refuses = missing, refuses

    def missing(self):
        return self._missing

    def refuses(self, pids):
        return self._refuses if len(pids) > 1 else None


def test_arms_that_cannot_be_measured_are_named_with_the_reason():
    tools = [Tool("none"), Tool("exact", refuses="one at a time"), Tool("heaptrack", launches=True), Tool("floor", missing="not built")]
    chosen, missing = overhead.choose_arms(Workload(), tools, None)
    assert [arm.name for arm in chosen] == ["none"]
    assert missing == {"exact": "one at a time", "heaptrack": "it would have to start the program"}
    assert overhead.choose_arms(Workload(), tools, ["floor"])[1] == {"floor": "not built"}


def test_every_arm_that_a_workload_wants_exists():
    known = {arm.name for arm in overhead.all_arms(0, 0)}
    assert len(known) == len(overhead.all_arms(0, 0))
    for workload in workloads.all_workloads():
        assert set(workload.arms) <= known and workload.arms[0] == "none"


def test_a_workload_that_is_slow_runs_only_when_named():
    assert "sqlite-long" not in overhead.parse_options([]).only
    assert overhead.parse_options(["--only", "sqlite-long"]).only == ["sqlite-long"]
    with pytest.raises(SystemExit):
        overhead.parse_options(["--only", "nonsense"])


def test_the_harness_measures_a_live_program_and_finds_its_text_as_it_was(tmp_path):
    command = [sys.executable, overhead.__file__, "--only", "leak", "--rounds", "1", "--seconds", "1", "--arms", "exact,detached,heaptrack"]
    run = subprocess.run([*command, "--json", tmp_path / "found.json", "--table"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    leak = json.loads((tmp_path / "found.json").read_text())["workloads"]["leak"]
    assert leak["failed"] == {} and leak["missing"] == {"heaptrack": "it would have to start the program"}
    assert list(leak["arms"]) == ["none", "detached", "exact"]
    assert all(found["cpu_slowdown"]["median"] > 0 for found in leak["arms"].values())
    assert leak["arms"]["exact"]["said"]["mode"] == "exact" and leak["arms"]["exact"]["said"]["ratio"]["median"] > 0
    assert "| a second of leaking" in run.stdout
