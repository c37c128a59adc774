#!/usr/bin/python3
"""What a hit of a recipe's function costs: one that is used (entry), and one that takes beside one that gives back (entry, return, entry),
each with its record and stack; without memtrace and with a recipe. The least of the rounds. Needs root, and `make bench-build`.

    sudo /usr/bin/python3 tests/bench/mapped.py [ROUNDS]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEMTRACE = ROOT / ".output" / "memtrace"
PROGRAM = ROOT / ".output" / "bench" / "mapped_cost"
RECIPE = """
[[resource]]
kind = "one"
object = "mapped_cost"
acquire = "take_one(_) -> id"
touch = "use_one(id)"
release = "give_back(id)"
"""


def figures(command):
    return [float(word) for word in subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True, text=True).stdout.split()]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as recipe:
        recipe.write(RECIPE)
        recipe.flush()
        traced = [MEMTRACE, "--quiet", "--out", "/dev/null", "--config", recipe.name, "--", PROGRAM]
        found = [(figures([PROGRAM]), figures(traced)) for _ in range(rounds)]
    for index, what in enumerate(["use", "take and give back"]):
        without, followed = (min(row[arm][index] for row in found) for arm in (0, 1))
        print(f"{what:20} {without:8.1f} ns, followed {followed:8.0f} ns")


if __name__ == "__main__":
    main()
