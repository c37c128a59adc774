"""Tables of what was measured: for a terminal, and in Markdown for the README. Pure functions of overhead.py's result."""

AGREE_WITHIN = 1.3  # what is said and what is seen


def significant(value, digits=3):
    """"3.52", "0.971", "1,240": so many digits, but no exponent and no digit of the whole part lost."""
    if value is None:
        return "-"
    whole = len(str(int(abs(value))))
    if abs(value) < 1:
        return f"{value:.{digits}f}"
    return f"{value:,.{max(0, digits - whole)}f}"


def nanoseconds(value):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if value >= size:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value)} ns"


def with_spread(found):
    """"0.971 [0.962, 0.980]": median and quartiles."""
    if not found:
        return "-"
    return f"{significant(found['median'])} [{significant(found['low'])}, {significant(found['high'])}]"


def rate(workload, found):
    """The throughput kept, where that is how one speaks of the workload; else how many times slower. From slowdowns."""
    if not found or workload["better"] != "throughput":
        return found
    return {"median": 1 / found["median"], "low": 1 / found["high"], "high": 1 / found["low"]}


def quotient(value):
    return significant(value) if value else "-"


def percent(value):
    return f"{value:.1%}"


def said_cells(said):
    """What memtrace said of its cost, what was seen, and how they agree."""
    if not said:
        return [""] * 5
    mode = said["mode"] + (f" {said['sample_interval_bytes']:,}" if said.get("sample_interval_bytes") else "")
    agreed = said.get("agreement")
    if not agreed:
        return [mode, percent(said["ratio"]["median"]), "-", "-", "-"]
    return [mode, percent(agreed["ratio_said"]), percent(agreed["share_seen"]), quotient(agreed["added_quotient"]),
            quotient(agreed["slowdown_quotient"])]


def workload_rows(workload):
    """Of the terminal's table: one for each arm, then those that are missing."""
    rows = []
    for arm, found in workload["arms"].items():
        figure = found["wall_ns"] or found["cpu_ns"]
        if not figure:
            continue
        row = [arm, nanoseconds(figure["median"]), with_spread(rate(workload, found["slowdown"])), with_spread(found["cpu_slowdown"])]
        rows.append(row + said_cells(found.get("said")))
    return rows


def column_titles(workload):
    kept = "throughput kept" if workload["better"] == "throughput" else "times slower"
    return ["arm", "per operation", f"{kept} [quartiles]", "CPU time x [quartiles]", "mode", "share said", "seen", "said/seen",
            "slowdown said/seen"]


def text_table(titles, rows, indent="  "):
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [titles, *rows]]
    return "\n".join(indent + line for line in lines)


def describe(name, workload):
    """A workload for the terminal."""
    lines = [f"{name}: {workload['what']}", text_table(column_titles(workload), workload_rows(workload))]
    lines += [f"  {arm}: not measured: {reason}" for arm, reason in workload["missing"].items()]
    return "\n".join(lines)


def markdown_table(titles, rows):
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def short_figure(workload, found):
    """Medians: throughput kept, or an operation's time and how many times slower that is; CPU time where time says nothing."""
    figure, ratio = (found["wall_ns"], found["slowdown"]) if found["wall_ns"] else (found["cpu_ns"], found["cpu_slowdown"])
    if not figure:
        return ""
    if ratio and workload["better"] == "throughput":
        return significant(rate(workload, ratio)["median"])
    return nanoseconds(figure["median"]) + (f", {significant(ratio['median'])} x" if ratio else "")


def markdown(result):
    """The README's tables: what each arm costs each workload, then what was said of it. Arms that nothing was measured under are left
    out: describe() has told why."""
    workloads = result["workloads"]
    arms = list(dict.fromkeys(arm for workload in workloads.values() for arm, found in workload["arms"].items() if found["cpu_ns"]))
    arms = [arm for arm in arms if arm != "none"]
    rows = []
    for workload in workloads.values():
        base = workload["arms"].get("none", {})
        figure = base.get("wall_ns") or base.get("cpu_ns")
        cells = [workload["what"], nanoseconds(figure["median"]) if figure else "-"]
        for arm in arms:
            cells.append(short_figure(workload, workload["arms"][arm]) if arm in workload["arms"] else "")
        rows.append(cells)
    cost = markdown_table(["what", "an operation without", *arms], rows)
    return cost + "\n\n" + markdown_agreement(workloads)


def markdown_agreement(workloads):
    rows = []
    for workload in workloads.values():
        for arm, found in workload["arms"].items():
            agreed = (found.get("said") or {}).get("agreement")
            if not agreed:
                continue
            added = agreed["added_quotient"]
            rows.append([f"{workload['what']}, {arm}", percent(agreed["ratio_said"]), percent(agreed["share_seen"]), quotient(added),
                         quotient(agreed["slowdown_quotient"]), "yes" if added and 1 / AGREE_WITHIN <= added <= AGREE_WITHIN else "no"])
    titles = ["what", "share of CPU time said", "seen", "said / seen", "slowdown said / seen", f"within {AGREE_WITHIN}"]
    return markdown_table(titles, rows)
