#!/bin/bash
# The table of the kernel half's counters, made from MT_COUNTERS in bpf/counters.h.
#
#   scripts/counter-table.sh           prints it
#   scripts/counter-table.sh --write   puts it between the marks in bpf/README.md
#   scripts/counter-table.sh --check   fails, and says how, where bpf/README.md is not up to date
set -euo pipefail
cd "$(dirname "$0")/.."

readme=bpf/README.md

# The preprocessor reads the list, as it does for the programs: `@@` starts a row, and adjacent strings are still apart.
# shellcheck disable=SC2016 # the dollars and backquotes are Python's
table() {
    printf '#include "bpf/counters.h"\n#define ROW(name, loss, text) @@ name @ loss @ text\nMT_COUNTERS(ROW)\n' |
        "${CC:-cc}" -E -P -I. -x c - | python3 -c '
import re, sys

rows = sys.stdin.read().split("@@")[1:]
print("| counter | loss | meaning |\n|---|---|---|")
for row in rows:
    name, loss, text = (part.strip() for part in row.split("@", 2))
    meaning = "".join(re.findall(r"\"((?:[^\"\\]|\\.)*)\"", text)).replace("|", "\\|")
    yes = {"0": "", "1": "yes"}[loss]
    print(f"| `{name}` | {yes} | {meaning} |")
'
}

between_marks() {
    sed -n '/^<!-- counters:begin -->$/,/^<!-- counters:end -->$/{//d;p}' "$readme"
}

write() {
    table >"$readme.table"
    sed -i -e '/^<!-- counters:begin -->$/,/^<!-- counters:end -->$/{//!d}' \
        -e "/^<!-- counters:begin -->\$/r $readme.table" "$readme"
    rm -f "$readme.table"
}

has_marks() {
    grep -qx '<!-- counters:begin -->' "$readme" && grep -qx '<!-- counters:end -->' "$readme"
}

case ${1:-} in
'') table ;;
--write | --check)
    if ! has_marks; then
        echo "$readme: lacks the lines <!-- counters:begin --> and <!-- counters:end -->" >&2
        exit 1
    fi
    if [[ $1 == --write ]]; then
        write
    elif ! diff -u --label "$readme" --label bpf/counters.h <(between_marks) <(table); then
        echo "$readme: the counter table is out of date: run scripts/counter-table.sh --write" >&2
        exit 1
    fi
    ;;
*)
    echo "counter-table: unknown option $1 (--write, --check)" >&2
    exit 2
    ;;
esac
