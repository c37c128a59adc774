#!/bin/bash
# Fails on an include that points up. The folders under user/ form layers, and a folder includes only those named for it here.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 - <<'PYTHON'
import pathlib
import re
import sys

# folder: the folders it may include, besides itself. bpf/ stands for the headers shared with the kernel half.
ALLOWED = {
    "base": "",
    "config": "base analyze",
    "model": "base bpf",
    "proc": "base bpf",
    "unwind": "proc base bpf",
    "symbol": "proc model base",
    "kernel": "unwind proc model base bpf",
    "scan": "unwind proc model base",
    "analyze": "model base",
    "report": "analyze model base bpf",
    "store": "report analyze model base",
    "serve": "report analyze model base",
    "app": "base config model proc unwind symbol kernel scan analyze report store serve bpf",
    "preload": "base bpf",
}
# libbpf and the skeleton stay behind one folder.
LIBBPF_FOLDER = "kernel"
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".c", ".h", ".cpp", ".hpp"}

problems = []


def includes(root):
    for path in sorted(pathlib.Path(root).rglob("*")):
        if path.suffix in SOURCES:
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                found = INCLUDE.match(line)
                if found:
                    yield path, number, found[1] == "<", found[2]


def is_libbpf(angle, name):
    return (angle and name.startswith("bpf/")) or name.endswith(".skel.h")


for path, number, angle, name in includes("user"):
    folder = path.parts[1]
    where = f"{path}:{number}: "
    if folder not in ALLOWED:
        problems.append(f"{where}user/{folder} is not a known layer: add it to scripts/check-layers.sh")
        continue
    if is_libbpf(angle, name):
        if folder != LIBBPF_FOLDER:
            problems.append(f"{where}only user/{LIBBPF_FOLDER} includes libbpf and the skeleton, not user/{folder}: {name}")
        continue
    if name.startswith("."):
        problems.append(f"{where}include by folder and name, not by a relative path: {name}")
        continue
    target = name.split("/")[0] if "/" in name else folder
    if angle and target not in ALLOWED:
        continue
    if not angle and target not in ALLOWED and target != "bpf" and target != "memtrace":
        problems.append(f"{where}no such layer: {name}")
    elif target in ALLOWED | {"bpf": ""} and target != folder and target not in ALLOWED[folder].split():
        problems.append(f"{where}user/{folder} may not include {target}/ (it may: {ALLOWED[folder] or 'nothing'}): {name}")

# What an application includes must not need the rest of the tree, nor the kernel half the collector.
for root, may in (("include", ("memtrace/",)), ("bpf", ("bpf/", "vmlinux.h"))):
    for path, number, angle, name in includes(root):
        if not angle and "/" in name and not name.startswith(may):
            problems.append(f"{path}:{number}: {root}/ may not include {name}")

print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
PYTHON
