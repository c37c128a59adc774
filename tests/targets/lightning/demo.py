#!/usr/bin/python3
"""The two halves of scripts/run-demo.sh that need more than a shell.

    demo.py watch SOCKET FILE      asks lightningd for its account every 200 ms until SIGTERM or until it goes, and writes what it said
    demo.py last DIR               the path of the latest snapshot in DIR
    demo.py verdict DIR FILE       compares memtrace's snapshots in DIR with the account in FILE

verdict compares what memtrace saw live, by malloc's direct caller, with the `live` lines of the account: their growth between
the first and the last snapshot. Both change while they are read, so the account is taken half a second around each snapshot's
time, which gives bounds and not a number. Status 0 if the site that grew most is one of a bug's functions whose leak
grew and every such function's growth is within its bounds; 1 if not; 2 if there is nothing to compare.
"""

import json
import signal
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

PERIOD_S = 0.2
SLACK_S = 0.5
SLACK_RATIO = 0.05


def watch(path, out):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        ask(path, out)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server went while it was asked
    except OSError as error:
        print(f"watch: {error}", file=sys.stderr)
    return 0


def ask(path, out):
    with socket.socket(socket.AF_UNIX) as connection, open(out, "w", encoding="utf-8") as log:
        connection.connect(path)
        answers = connection.makefile("r", encoding="utf-8")
        while True:
            connection.sendall(b"LEAKS\n")
            lines = [f"at {time.time():.3f}"]
            while (line := answers.readline()) != "END\n":
                if not line:
                    return
                lines.append(line.rstrip("\n"))
            log.write("\n".join(lines) + "\n")
            log.flush()
            time.sleep(PERIOD_S)


def read_truth(path):
    """[(unix seconds, {"leak": {function: bytes}, "live": {function: bytes}})], oldest first."""
    moments = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[0] == "at":
            moments.append((float(words[1]), {"leak": {}, "live": {}}))
        elif words[0] in ("leak", "live"):
            moments[-1][1][words[0]][words[2]] = int(words[3])
    return moments


def at(moments, kind, function, when):
    """Bytes at that time, on the line between the two moments around it."""
    before = after = moments[0]
    for moment in moments:
        after = moment
        if moment[0] >= when:
            break
        before = moment
    old, new = before[1][kind][function], after[1][kind][function]
    if after[0] <= before[0] or when >= after[0]:
        return float(new)
    return old + (new - old) * max(0.0, when - before[0]) / (after[0] - before[0])


def read_snapshots(directory):
    """[(unix seconds, path, snapshot)], oldest first."""
    found = []
    for path in Path(directory).rglob("*.json"):
        snapshot = json.loads(path.read_text(encoding="utf-8"))
        found.append((datetime.fromisoformat(snapshot["time"].replace("Z", "+00:00")).timestamp(), path, snapshot))
    return sorted(found, key=lambda row: (row[0], str(row[1])))


def caller(site):
    """The function that called the allocator, without its arguments."""
    name = site["stack"][0].get("function", "") if site["stack"] else ""
    return name.split("(")[0] or "?"


def live_by_function(snapshot):
    sums = {}
    for site in snapshot["sites"]:
        sums[caller(site)] = sums.get(caller(site), 0) + site["live_bytes"]
    return sums


def top_growing(first, last):
    """(bytes, site) of the site that grew most between two snapshots."""
    before = {site["id"]: site["live_bytes"] for site in first["sites"]}
    grown = [(site["live_bytes"] - before.get(site["id"], 0), site) for site in last["sites"]]
    return max(grown, key=lambda row: row[0], default=(0, None))


def bounds(moments, function, start, end):
    """Least and most that the function's live bytes can have grown by between two snapshots."""
    low = at(moments, "live", function, end - SLACK_S) - at(moments, "live", function, start + SLACK_S)
    high = at(moments, "live", function, end + SLACK_S) - at(moments, "live", function, start - SLACK_S)
    return low - SLACK_RATIO * abs(low), high + SLACK_RATIO * abs(high)


def compare(snapshots, moments):
    """Prints the table; the functions that leaked in the meantime, and those of them whose figures do not agree."""
    (start, _, first), (end, _, last) = snapshots[0], snapshots[-1]
    before, after = live_by_function(first), live_by_function(last)
    leaking, disagreeing = [], []
    print(f"{'growth in ' + format(end - start, '.1f') + ' s, bytes':<28}{'memtrace':>14}{'truth':>14}{'off by':>9}  agrees")
    for function in moments[-1][1]["leak"]:
        if at(moments, "leak", function, end) <= at(moments, "leak", function, start):
            continue
        leaking.append(function)
        seen = after.get(function, 0) - before.get(function, 0)
        truth = at(moments, "live", function, end) - at(moments, "live", function, start)
        low, high = bounds(moments, function, start, end)
        if not low <= seen <= high:
            disagreeing.append(function)
        off = f"{100 * (seen - truth) / truth:+.2f}%" if truth else "-"
        print(f"{function:<28}{seen:>14}{truth:>14.0f}{off:>9}  {'yes' if low <= seen <= high else 'NO'}")
    return leaking, disagreeing


def verdict(directory, truth_path):
    snapshots, moments = read_snapshots(directory), read_truth(truth_path)
    if len(snapshots) < 2 or not moments:
        print(f"verdict: nothing to compare: {len(snapshots)} snapshots, {len(moments)} accounts")
        return 2
    leaking, disagreeing = compare(snapshots, moments)
    grown, site = top_growing(snapshots[0][2], snapshots[-1][2])
    name = caller(site) if site else "?"
    if not leaking:
        print("verdict: nothing to compare: the server leaked nothing meanwhile")
        return 2
    if grown <= 0 or name not in leaking:
        print(f"verdict: MISSED: memtrace's top growing site is {name} (+{grown} bytes), the leaking ones are {', '.join(leaking)}")
        return 1
    if disagreeing:
        print(f"verdict: WRONG FIGURES: the top growing site {name} does leak, but the growth is off for {', '.join(disagreeing)}")
        return 1
    print(f"verdict: FOUND: memtrace's top growing site is {name} (+{grown} bytes), which leaks; its figures agree with the truth")
    return 0


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "watch":
        return watch(*arguments[1:])
    if len(arguments) == 2 and arguments[0] == "last":
        snapshots = read_snapshots(arguments[1])
        print(snapshots[-1][1] if snapshots else "")
        return 0 if snapshots else 1
    if len(arguments) == 3 and arguments[0] == "verdict":
        return verdict(*arguments[1:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
