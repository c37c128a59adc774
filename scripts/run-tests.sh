#!/bin/bash
# Everything there is to test, on this machine: `sudo scripts/run-tests.sh`. Installs what is missing, builds all, runs the
# checks, the unit tests and the end-to-end tests, which trace real processes and therefore need root.
#
# Goes on after a failure, to show all of them in one run; fails if any part did. The last line counts the tests, 'N passed, N
# failed'; a part that failed without naming a test counts as one. Logs: .output/test-logs/.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if ((EUID != 0)); then
    echo 'run-tests: tracing needs root: sudo scripts/run-tests.sh' >&2
    exit 1
fi

logs=.output/test-logs
rm -rf "$logs"
mkdir -p "$logs"
export GTEST_OUTPUT="xml:$PWD/$logs/unit.xml"
export PYTEST_ADDOPTS="--junit-xml=$PWD/$logs/e2e.xml"
export PYTHONDONTWRITEBYTECODE=1
failed_parts=()

# What sudo built is the user's to rebuild.
give_back() {
    if [[ -n ${SUDO_UID:-} && -n ${SUDO_GID:-} ]]; then chown -R "$SUDO_UID:$SUDO_GID" .output; fi
}
trap give_back EXIT

part() {
    local name=$1 started=$SECONDS status=ok
    shift
    printf '== %s\n' "$name"
    if ! "$@" 2>&1 </dev/null | tee "$logs/$name.log"; then
        status=FAILED
        failed_parts+=("$name")
    fi
    printf '== %s: %s, %d s\n' "$name" "$status" $((SECONDS - started))
    [[ $status == ok ]]
}

mount_if_absent() {
    local type=$1 where=$2
    if ! grep -q "^[^ ]* $where $type " /proc/mounts; then mount -t "$type" "$type" "$where"; fi
}

mount_kernel_filesystems() {
    mount_if_absent tracefs /sys/kernel/tracing
    mount_if_absent bpf /sys/fs/bpf
}

# Prints 'N passed, N failed' from both runners' XML; a skipped test counts as failed, and so does a runner without a report.
count() {
    /usr/bin/python3 - "$logs" "${failed_parts[@]}" <<'PYTHON'
import sys
import xml.etree.ElementTree as xml

logs, failed_parts = sys.argv[1], set(sys.argv[2:])
passed = failed = 0
for part in ("unit", "e2e"):
    results = {}
    try:
        for case in xml.parse(f"{logs}/{part}.xml").iter("testcase"):
            if case.get("status") == "notrun":
                continue  # GoogleTest's DISABLED_
            key = case.get("classname"), case.get("name")
            bad = any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
            results[key] = results.get(key, True) and not bad
    except (OSError, xml.ParseError):
        failed_parts.add(part)
    passed += sum(results.values())
    failed += sum(not good for good in results.values())
    if not all(results.values()):
        failed_parts.discard(part)
print(f"{passed} passed, {failed + len(failed_parts)} failed")
PYTHON
}

part install scripts/install-deps.sh
part mount mount_kernel_filesystems
if part build make -j"$(nproc)" all targets .output/unit-tests bench-build; then
    part check make check
    part unit make test
    part e2e make test-root
fi

if ((${#failed_parts[@]} > 0)); then printf '== failed: %s (logs in %s/)\n' "${failed_parts[*]}" "$logs"; fi
summary=$(count)
printf '%s\n' "$summary"
[[ $summary =~ ^[1-9][0-9]*\ passed,\ 0\ failed$ ]]
