#!/bin/bash
# `make check`: what can be known of the tree without running it. One line per check, 'ok name' or what is wrong; fails if any does.
#
#   scripts/check.sh [NAME...]     only the checks named: format layers counters vmlinux words shell tidy
#
# shellcheck disable=SC2317 # the checks are called by a name put together below
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

out=.output
clang=${CLANG:-clang-19}
mkdir -p "$out/check" "$out/tidy"

# Tracked files that exist, one per line; in an unpacked archive, without git, all files. The checkout's owner is not asked for:
# it may be another user's when root runs the tests.
tracked() {
    if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files -- "$@"
    else
        find "${@:-.}" -path "*/$out" -prune -o -type f -print | sed 's,^\./,,'
    fi | while IFS= read -r file; do if [[ -f $file ]]; then printf '%s\n' "$file"; fi; done
}

need() {
    command -v "$1" >/dev/null && return
    echo "$1 is missing: run sudo scripts/install-deps.sh"
    return 1
}

check_format() {
    local files findings
    need clang-format-19 || return 1
    mapfile -t files < <(tracked bpf user include tests | grep -E '\.(c|h|cpp|hpp)$')
    ((${#files[@]} > 0)) || return 0
    if findings=$(clang-format-19 --dry-run -Werror "${files[@]}" 2>&1); then return 0; fi
    printf '%s\n' "$findings" | sed -n 's/^\([^ :]*:[0-9]*\):[0-9]*: error: .*/\1: not formatted/p; /^[^ :]*:[0-9]/!{/rror:/p}' |
        awk -F: '!seen[$1]++' # the first place of each file
    echo 'to mend: clang-format-19 -i FILE'
    return 1
}

# Prints the sources whose stamp is older than they, or than a header they include (the compiler's .d file knows which; without
# one, any header counts), or than the rules.
stale_sources() {
    local source stamp depend newest dependencies
    newest=$(find user bpf include "$out/bpf" \( -name '*.h' -o -name '*.hpp' \) -printf '%T@ %p\n' 2>/dev/null | sort -rn | sed 's/^[^ ]* //;q')
    for source in "$@"; do
        stamp=$out/tidy/$source.stamp
        depend=$out/${source%.cpp}.d
        dependencies=()
        if [[ -f $depend ]]; then
            read -r -d '' -a dependencies < <(sed -e '/^$/q' -e 's/^[^:]*://' -e 's/\\$//' "$depend" | tr '\n' ' ') || true
        else
            dependencies=("$newest")
        fi
        for file in "$source" .clang-tidy "${dependencies[@]}"; do
            if [[ ! -f $stamp || $file -nt $stamp ]]; then
                printf '%s\n' "$source"
                break
            fi
        done
    done
}

# One source; its stamp is made only where nothing was found. The stamp is as old as the start: an edit meanwhile counts.
tidy_one() {
    local source=$1 stamp=.output/tidy/$1.stamp output
    mkdir -p "$(dirname "$stamp")"
    touch "$stamp.new"
    # The sources are compiled with g++: what only one of the two compilers knows is not a finding, nor is what libstdc++ does.
    if output=$(clang-tidy-19 --quiet -p .output/tidy --extra-arg=-Wno-error --extra-arg=-Wno-unknown-warning-option \
        --extra-arg=-Wno-unknown-attributes --extra-arg=-Wno-deprecated-declarations "$source" 2>&1); then
        mv "$stamp.new" "$stamp"
    else
        rm -f "$stamp.new" "$stamp"
        printf '%s\n' "$output" | grep -vE '^[0-9]+ warnings?( and [0-9]+ errors?)? (generated|treated)|^Suppressed |^Use -header-filter|^Error while processing'
        return 1
    fi
}
export -f tidy_one

check_tidy() {
    local sources stale skeletons
    need clang-tidy-19 || return 1
    mapfile -t sources < <(tracked user | grep '\.cpp$')
    ((${#sources[@]} > 0)) || return 0
    # user/kernel includes what is generated.
    mapfile -t skeletons < <(tracked bpf | sed -n "s,^\(bpf/.*\)\.bpf\.c$,$out/\1.skel.h,p")
    if ((${#skeletons[@]} > 0)); then MAKEFLAGS='' make -s "${skeletons[@]}" >/dev/null || return 1; fi
    scripts/compile-commands.sh >"$out/tidy/compile_commands.json" || return 1
    mapfile -t stale < <(stale_sources "${sources[@]}")
    ((${#stale[@]} > 0)) || return 0
    # shellcheck disable=SC2016 # expanded by the inner shell
    printf '%s\0' "${stale[@]}" | xargs -0 -n 1 -P 2 bash -c 'tidy_one "$1"' tidy
}

check_layers() {
    scripts/check-layers.sh
}

check_counters() {
    scripts/counter-table.sh --check
}

# The kernel half compiles for every architecture from the declarations in the tree alone.
check_vmlinux() {
    local source arch failed=0 headers
    need "$clang" || return 1
    headers=/usr/include/$(gcc -print-multiarch) # of the machine that builds: <bpf/usdt.bpf.h> wants <asm/errno.h>, which is the same for all
    for source in bpf/*.bpf.c; do
        [[ -f $source ]] || continue
        for arch in x86_64:x86 aarch64:arm64; do
            "$clang" -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_"${arch#*:}" -Wall -Wextra -Wshadow -Werror \
                -Ivmlinux/"${arch%:*}" -I. -idirafter "$headers" -c "$source" -o "$out/check/${arch%:*}.bpf.o" || failed=1
        done
    done
    scripts/gen-vmlinux.sh --check || failed=1
    return "$failed"
}

# Paths of one machine, and package mirrors, which are for the machine's own configuration to name.
check_words() {
    local files
    mapfile -t files < <(tracked)
    ! grep -nIE '(^|[^[:alnum:]_.])/work[/]|\b(deb|ftp|cdn|http|httpredir|security|snapshot|archive|mirrors?)[.]([a-z]+[.])*(debian[.]org|ubuntu[.]com)\b' \
        -- "${files[@]}"
}

check_shell() {
    local file scripts failed=0
    mapfile -t scripts < <(tracked scripts .ci tests | while read -r file; do
        if head -n 1 -- "$file" | grep -aqE '^#!/bin/(ba)?sh'; then printf '%s\n' "$file"; fi
    done)
    for file in "${scripts[@]}"; do
        bash -n "$file" || failed=1
        if [[ ! -x $file ]]; then
            echo "$file: is not executable"
            failed=1
        fi
    done
    if command -v shellcheck >/dev/null && ((${#scripts[@]} > 0)); then shellcheck --severity=warning "${scripts[@]}" || failed=1; fi
    return "$failed"
}

checks=("$@")
if ((${#checks[@]} == 0)); then checks=(format layers counters vmlinux words shell tidy); fi
failed=0
for name in "${checks[@]}"; do
    if ! declare -F "check_$name" >/dev/null; then
        echo "check: there is no check named $name" >&2
        exit 2
    fi
    if findings=$("check_$name" 2>&1); then
        printf 'ok %s\n' "$name"
    else
        printf 'FAILED %s\n%s\n' "$name" "$findings"
        failed=1
    fi
done
exit $failed
