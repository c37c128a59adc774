"""A program that tells of more than can be heard: objects are sampled, each with all that happens to it, and what is said is an estimate. What
`told_flood` does: tests/targets/told_flood.cpp."""

import math
import signal

import pytest

from memtrace_runner import Memtrace, counters
from targets import Target

LARGEST_Z = 5.6
AUTO = ["--sample", "auto", "--interval", "200ms"]


def assert_estimated(report, objects, references):
    """`objects` with equal numbers of references."""
    told = report["references"]
    one_in = told["sampled_one_in"]
    error = math.sqrt(objects * (one_in - 1))
    assert abs(told["objects"] - objects) <= LARGEST_Z * error + one_in, told
    assert abs(told["references"] - references) <= LARGEST_Z * error * references / objects + 3 * one_in, told
    if one_in > 1:
        low, high = told["objects_ci95"]
        assert low < told["objects"] < high and 0.5 < (high - low) / (2 * 1.96 * error) < 2
    assert told["errors"] == [] and told["cycles"] == []


def test_what_costs_too_much_is_sampled_and_comes_back(tmp_path):
    with Target.start("told_flood") as target, \
            Memtrace.attach(tmp_path, target.ready(), *AUTO, "--max-overhead", "0.5%") as memtrace:
        target.go()
        memtrace.wait_said("budget 0.5 %: one object in 8")
        report = memtrace.wait_report(lambda report: report["references"].get("sampled_one_in", 1) >= 8)
        assert_estimated(report, 20_000, 40_000)
        assert counters(report)["contract_sampled_out"] > 0
        assert report["coverage"]["overhead"]["ratio"] > 0.005
        target.send("calm")
        notes = target.truth().notes
        memtrace.wait_said("nothing lost, and room in the budget: one object in", 120)
        fewer = memtrace.wait_report(lambda report: report["references"]["sampled_one_in"] > 1)
        more = memtrace.wait_report(lambda report: report["references"]["sampled_one_in"] < fewer["references"]["sampled_one_in"], 120)
        # It is asked anew what is alive: those that have come into the sample are known again, to the last one.
        report = memtrace.wait_report(lambda report: report["references"]["sampled_one_in"] <= more["references"]["sampled_one_in"] and
                                      abs(report["references"]["objects"] - notes["objects"]) <
                                      LARGEST_Z * math.sqrt(notes["objects"] * report["references"]["sampled_one_in"]))
        assert_estimated(report, notes["objects"], notes["references"])
        assert memtrace.stop()["references"]["errors"] == []
        assert target.alive()


def test_a_loss_makes_it_hear_of_fewer(tmp_path):
    with Target.start("contract", ["--pairs", 150_000]) as target, \
            Memtrace.attach(tmp_path, target.ready(), *AUTO, "--max-overhead", "100%") as memtrace:
        memtrace.process.send_signal(signal.SIGSTOP)  # it reads nothing
        target.go()
        target.truth()
        memtrace.process.send_signal(signal.SIGCONT)
        memtrace.wait_said("records of what the program tells were lost: one object in 2")
        report = memtrace.wait_report(lambda report: report["references"].get("sampled_one_in", 1) == 2)
        assert report["coverage"]["lost"]["contract_records_lost"] > 0


def test_exact_hears_of_every_object_whatever_it_costs(tmp_path):
    with Target.start("told_flood", ["--objects", 100]) as target, \
            Memtrace.attach(tmp_path, target.ready(), "--interval", "200ms", "--max-overhead", "0.1%") as memtrace:
        target.go()
        report = memtrace.wait_report(lambda report: counters(report).get("contract_hits", 0) > 20_000)
        assert report["references"]["sampled_one_in"] == 1 and counters(report)["contract_sampled_out"] == 0


@pytest.mark.parametrize("orders", [("more", "more"), ("again", "more", "again", "more")], ids=" ".join)
def test_stacks_that_are_known_make_room_for_others(tmp_path, orders):
    """27,000 different ones, of which the kernel half has room for 16,384 at once. Those that come again, too."""
    rounds, stacks = 1 + len(orders), 9_000
    with Target.start("told_stacks", ["--stacks", stacks]) as target, \
            Memtrace.attach(tmp_path, target.ready(), "--interval", "200ms") as memtrace:
        target.go()
        for number, order in enumerate([*orders, "enough"], 1):
            assert target.read_line() == f"note told {number * stacks}"
            report = memtrace.wait_report(lambda report, told=number * stacks + 1: counters(report)["contract_hits"] >= told)
            target.send(order)
        assert counters(report)["contract_hits"] == rounds * stacks + 1 + 2  # and the answer to what is alive: its beginning, its end
        assert report["coverage"]["lost"] == {}
