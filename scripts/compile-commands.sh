#!/bin/bash
# Prints compile_commands.json: the command that the Makefile would run for each source under user/ and of the unit tests.
# It is taken from make itself (a dry run of everything), so the flags are stated once, in the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."

# Called from make as well as by hand: the outer make's flags must not reach the inner one. -k: a tree with a part missing
# still has commands for the others.
unset MAKEFLAGS MFLAGS MAKELEVEL
# shellcheck disable=SC2016 # the backquotes are Python's
{ make -n -B -k --no-print-directory V=1 all .output/unit-tests 2>/dev/null || true; } | python3 -c '
import json, os, shlex, sys

commands = []
for line in sys.stdin:
    if " -c " not in line or not line.rstrip().endswith(".o"):
        continue
    words = shlex.split(line)
    source = words[words.index("-c") + 1]
    if source.endswith(".cpp"):
        commands.append({"directory": os.getcwd(), "file": source, "arguments": words, "output": words[-1]})
if not commands:
    sys.exit("compile-commands: make listed no compilation: see `make -n -B V=1 all`")
json.dump(sorted(commands, key=lambda command: command["file"]), sys.stdout, indent=1)
print()
'
