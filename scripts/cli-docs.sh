#!/bin/bash
# Makes of what `memtrace --help` says a manual page or a completion for bash, so that there is one list of options.
#
#   scripts/cli-docs.sh man|completion MEMTRACE
set -euo pipefail

# Prints option, value and text, with $separator between them, for each option of a help text; the value as people write it. Not with tabs: `read` takes
# two of them for one.
separator=$'\037'
options_of() {
    awk -v OFS="$separator" '
        function flush() { if (option != "") print option, value, text; option = "" }
        function start(line) {
            flush()
            option = line; sub(/^ +/, "", option); text = ""
            if (match(option, /  +/)) { text = substr(option, RSTART + RLENGTH); option = substr(option, 1, RSTART - 1) }
            value = ""
            if (match(option, / /)) { value = substr(option, RSTART + 1); option = substr(option, 1, RSTART - 1) }
            # "TEXT:DURATION" is a DURATION, "TEXT:{text,json}" one of these, "PID:INT in [1 - 4194304]" a PID.
            sub(/^(TEXT|UINT):/, "", value); sub(/:.*| in .*/, "", value); sub(/ \.\.\.$/, "", value); gsub(/[{}]/, "", value)
            if (value ~ /^[a-z_]+,/) gsub(/,/, "|", value)
            sub(/.*,/, "", option) # the long name
            # Without room between the two, the text comes after one blank: values are in capitals, or lists.
            if (text == "" && match(value, /^[A-Z|.]+ [a-z]/)) { text = substr(value, RLENGTH); value = substr(value, 1, RLENGTH - 2) }
        }
        tolower($1) ~ /^options:$/ { inside = 1; next }
        /^[A-Za-z]/ { flush(); inside = 0 }
        # Newer versions of CLI11 have a column for short names: "  -h,     --help", "          --version".
        inside && /^  ? ? ? ? ? ? ? ? ?(-[A-Za-z],)? *--[a-z]/ && match($0, /^ *(-[A-Za-z],)? */) && RLENGTH <= 10 {
            start(substr($0, RLENGTH + 1)); next
        }
        inside && /^    / { sub(/^ +/, ""); text = text (text == "" ? "" : " ") $0 }
        END { flush() }'
}

subcommands_of() {
    awk 'tolower($1) ~ /^subcommands:$/ { inside = 1; next } /^[A-Za-z]/ { inside = 0 }
         inside && match($0, /^  [a-z]+/) { print $1 "\t" substr($0, index($0, $2)) }'
}

roff() {
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/"
}

print_options() {
    local option value text
    while IFS=$separator read -r option value text; do
        printf '.TP\n.BR %s' "$(roff <<<"$option")"
        if [[ -n $value ]]; then printf ' " \\fI%s\\fP"' "$(roff <<<"$value")"; fi
        printf '\n%s\n' "$(roff <<<"$text")"
    done
}

man_page() {
    local name text
    cat <<EOF
.TH MEMTRACE 8 "" "memtrace @VERSION@" "System administration"
.SH NAME
memtrace \- finds memory leaks in running programs
.SH SYNOPSIS
.nf
.B memtrace \-\-pid \fIPID\fP | \-\-comm \fINAME\fP | \-\-cgroup \fIPATH\fP | \-\- \fICOMMAND\fP [\fIARGUMENT\fP...] [\fIOPTION\fP...]
$(subcommands_of <"$help" | while IFS=$'\t' read -r name _; do printf '.B memtrace %s\n' "$name"; done)
.fi
.SH DESCRIPTION
Attaches to running processes by eBPF, without restarting them and without putting code into them, follows their allocations and
frees, and names the call sites whose memory grows: how fast, how sure that is, and what the tracing costs. Tracing needs root.
.PP
Durations are written 500ms, 5s, 10m, 2h; sizes 4096, 64KiB, 1MiB.
.SH OPTIONS
EOF
    options_of <"$help" | print_options
    printf '.SH COMMANDS\n'
    subcommands_of <"$help" | while IFS=$'\t' read -r name text; do
        printf '.SS memtrace %s\n%s\n' "$name" "$(roff <<<"$text")"
        "$memtrace" "$name" --help | options_of | grep -v '^--help' | print_options || true
    done
    cat <<'EOF'
.SH EXIT STATUS
0 fine; 1 failed, one line on standard error says why; 2 bad usage; 3
.B \-\-fail\-on
found something. SIGINT and SIGTERM print the last report and detach; a second SIGINT leaves at once.
.SH FILES
.TP
.I /etc/memtrace/memtrace.toml
what the service traces
.TP
.I @PREFIX@/share/memtrace
recipes, alerts, rules for Prometheus, dashboards, notes on running it over a fleet
.SH SEE ALSO
.BR bpftrace (8),
.BR perf (1),
.BR valgrind (1)
EOF
}

completion() {
    local name
    printf '# Completes memtrace in bash.\n_memtrace() {\n    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= i\n'
    printf '    for ((i = 1; i < COMP_CWORD; i++)); do case ${COMP_WORDS[i]} in\n'
    printf '        %s) command=${COMP_WORDS[i]} ;;\n' "$(subcommands_of <"$help" | cut -f 1 | paste -sd '|')"
    printf '        --) COMPREPLY=($(compgen -c -- "$word")); return ;;\n    esac; done\n    case $before in\n'
    { cat "$help" && subcommands_of <"$help" | cut -f 1 | while read -r name; do "$memtrace" "$name" --help; done; } | options_of | sort -u -t "$separator" -k 1,1 |
        while IFS=$separator read -r name value _; do
            case $value in
            *'|'*) printf '    %s) COMPREPLY=($(compgen -W "%s" -- "$word")); return ;;\n' "$name" "${value//|/ }" ;;
            *FILE* | *CERT*) printf '    %s) COMPREPLY=($(compgen -f -- "$word")); return ;;\n' "$name" ;;
            DIR | PATH) printf '    %s) COMPREPLY=($(compgen -d -- "$word")); return ;;\n' "$name" ;;
            PID) printf '    %s) COMPREPLY=($(cd /proc && compgen -G "$word[0-9]*")); return ;;\n' "$name" ;;
            ?*) printf '    %s) return ;;\n' "$name" ;;
            esac
        done
    printf '    esac\n    local words\n    case $command in\n'
    subcommands_of <"$help" | cut -f 1 | while read -r name; do
        printf '    %s) words="%s" ;;\n' "$name" "$("$memtrace" "$name" --help | options_of | cut -d "$separator" -f 1 | paste -sd ' ')"
    done
    printf '    *) words="%s" ;;\n    esac\n' "$({ subcommands_of <"$help" | cut -f 1 && options_of <"$help" | cut -d "$separator" -f 1; } | paste -sd ' ')"
    printf '    COMPREPLY=($(compgen -W "$words" -- "$word"))\n    if [[ $command == @(report|diff|replay) && $word != -* ]]; then COMPREPLY=($(compgen -f -- "$word")); fi\n}\n'
    printf 'complete -o filenames -F _memtrace memtrace\n'
}

if (($# != 2)); then
    echo 'cli-docs: scripts/cli-docs.sh man|completion MEMTRACE' >&2
    exit 2
fi
memtrace=$2
[[ $memtrace == */* ]] || memtrace=./$memtrace
help=$(mktemp)
trap 'rm -f "$help"' EXIT
"$memtrace" --help >"$help"
case $1 in
man) man_page ;;
completion) completion ;;
*) exit 2 ;;
esac
