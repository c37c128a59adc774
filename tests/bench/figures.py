"""What is made of measurements: medians with spread, ratios, and how the overhead that memtrace states compares with the slowdown
seen. Pure functions of numbers; tests/e2e/test_bench.py holds them to examples."""

import statistics
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles; of one value, all three are that value."""

    median: float
    low: float
    high: float


def spread(values):
    """None of nothing. Quartiles as R's type 7 has them: interpolated between the sorted values, the extremes included."""
    values = sorted(values)
    if len(values) < 2:
        return Spread(values[0], values[0], values[0]) if values else None
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def paired_ratios(rounds, base_rounds):
    """Figure / base of each round that has both. Arguments: one number, or None, for each round, in the same order. A round's
    measurements lie close together in time, so a machine that is slow for a while slows both."""
    return [value / base for value, base in zip(rounds, base_rounds) if value is not None and base]


def window_mean(spans, begin, end):
    """The mean over [begin, end] of a figure that is known as means over adjoining spans: [(end of span, figure), ...] in order,
    the first span beginning at 0. None where no span reaches into the window."""
    weighted = total = start = 0.0
    for until, figure in spans:
        overlap = min(until, end) - max(start, begin)
        if overlap > 0:
            weighted += overlap * figure
            total += overlap
        start = until
    return weighted / total if total else None


def agreement(ratio, slowdown_seen):
    """How what memtrace says of its cost compares with what is seen. `ratio`: coverage.overhead.ratio, the time that probes took / the
    CPU time that the target had, theirs included. slowdown_seen: CPU time of an operation with memtrace / without."""
    share_seen = 1 - 1 / slowdown_seen
    said = 1 / (1 - ratio) if ratio < 1 else None
    return {
        "ratio_said": ratio,
        "share_seen": share_seen,
        # Time added: said / seen. The harder test where little is added. None where nothing is seen.
        "added_quotient": ratio / share_seen if share_seen > 0 else None,
        "slowdown_said": said,
        "slowdown_seen": slowdown_seen,
        # Time with / time without: said / seen. The harder test where probes take nearly all; None where they take all.
        "slowdown_quotient": said / slowdown_seen if said else None,
    }


def compare(arms, base="none"):
    """arms: {arm: [sample or None for each round]}, a sample being {"wall_ns": .., "cpu_ns": .., "said": ..} of one operation; wall_ns
    may be None. Returns {arm: {...}} of spreads as dictionaries: the figures, their ratios to the base's, and what was said. The base
    is compared with its own median: that is the noise."""
    compared = {}
    for arm, samples in arms.items():
        found = {}
        for key, ratio in (("wall_ns", "slowdown"), ("cpu_ns", "cpu_slowdown")):
            values = _column(samples, key)
            found[key] = _as_dict(spread(_present(values)))
            base_values = _column(arms.get(base, []), key)
            if arm == base:
                base_values = [statistics.median(_present(values))] * len(values) if found[key] else []
            found[ratio] = _as_dict(spread(paired_ratios(values, base_values)))
        said = _present(_column(samples, "said"))
        if said:
            found["said"] = _combine_said(said, found["cpu_slowdown"])
        compared[arm] = found
    return compared


def _column(samples, key):
    return [sample[key] if sample else None for sample in samples]


def _present(values):
    return [value for value in values if value is not None]


def _as_dict(found):
    return asdict(found) if found else None


def _combine_said(said, cpu_slowdown):
    """The ratio is said to be 1 where the estimate is above: then the estimate itself is compared, where it is known."""
    combined = {**said[-1], "ratio": asdict(spread([one["ratio"] for one in said]))}
    if cpu_slowdown:
        estimates = [one.get("estimate") if one["ratio"] >= 1 and one.get("estimate") else one["ratio"] for one in said]
        combined["agreement"] = agreement(spread(estimates).median, cpu_slowdown["median"])
    return combined
