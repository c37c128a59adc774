"""What tracing may cost at most, and whether it does. Pure."""

from dataclasses import dataclass

from figures import paired_ratios, spread
from tables import markdown_table


@dataclass(frozen=True)
class Target:
    """An operation under `arm` takes at most `most` times what it takes under `against`."""

    workload: str
    arm: str
    against: str
    most: float
    throughput: bool = False  # spoken of as the throughput kept, 1 / most at least

    def text(self):
        return f">= {1 / self.most:.2f}" if self.throughput else f"<= {self.most:.2f}"


TARGETS = [
    Target("pairs", "exact", "floor", 1.3),
    Target("pairs", "exact", "bpftrace", 0.25),
    Target("sqlite", "exact", "heaptrack", 1.0),
    Target("sqlite-long", "auto", "none", 1.06),
    Target("pgbench", "exact", "none", 1 / 0.95, throughput=True),
    Target("pgbench", "auto", "none", 1 / 0.97, throughput=True),
    Target("redis", "auto", "none", 1 / 0.95, throughput=True),
]


def ratio_of(target, samples, key):
    """The median over the rounds of arm / against, or None where the two were not measured together."""
    columns = [[sample and sample[key] for sample in samples.get(arm, [])] for arm in (target.arm, target.against)]
    found = spread(paired_ratios(*columns))
    return found.median if found else None


def target_rows(workloads):
    rows = []
    for target in TARGETS:
        workload = workloads.get(target.workload)
        if not workload:
            continue
        time, cpu = (ratio_of(target, workload["samples"], key) for key in ("wall_ns", "cpu_ns"))
        met = "not measured" if time is None else "yes" if time <= target.most else "no"
        shown = [ratio and 1 / ratio if target.throughput else ratio for ratio in (time, cpu)]
        rows.append([f"{workload['what']}: {target.arm} / {target.against}", target.text(), *("-" if ratio is None else f"{ratio:.3f}" for ratio in shown), met])
    return rows


TITLES = ["target", "", "by time", "by CPU time", "met"]


def markdown_targets(workloads):
    return markdown_table(TITLES, target_rows(workloads))
