#!/bin/bash
# Installs what building and testing memtrace needs, on Debian 12 and 13, from the apt sources that the machine already has.
# Does nothing, and asks no server, when nothing is missing.
#
#   scripts/install-deps.sh [--build-only] [--list]
#
#   --build-only   what the build needs, without what the tests need
#   --list         print the packages and stop
set -euo pipefail

# "a|b" takes whichever is installed, else the first that apt knows: names that differ between the two releases.
build_packages=(
    g++ make pkg-config
    clang-19 clang-format-19 clang-tidy-19 llvm-19 libclang-rt-19-dev
    libbpf-dev bpftool libdw-dev libelf-dev zlib1g-dev liblzma-dev libiberty-dev libdebuginfod-dev libzydis-dev
    libexpected-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libprotozero-dev systemtap-sdt-dev
    prometheus-cpp-dev libmicrohttpd-dev libsqlite3-dev
)
test_packages=(
    libgtest-dev libbenchmark-dev libleveldb-dev valgrind dwz
    'postgresql-15|postgresql-17' # each brings its own pgbench
    redis-server sqlite3 mariadb-server mariadb-client libsqlite3-0 libssl-dev
    libjemalloc2 'libtcmalloc-minimal4|libtcmalloc-minimal4t64' 'libmimalloc2.0|libmimalloc3'
    rustc # a program with Rust's names to trace
    chromium # the page of --listen
    prometheus prometheus-alertmanager # what the metrics, rules and dashboards are for
    debuginfod # a server of debug files to ask (--debuginfod)
    golang-go # go tool pprof: an independent reader of the profiles
    qemu-system-x86 busybox-static cpio # Debian's own kernels, emulated: scripts/vm-run.sh
    heaptrack # beside valgrind and bpftrace: what others cost (make bench)
    dpkg-dev man-db mmdebstrap strace systemd # make deb, its installation in a Debian of its own, what systemd thinks of the service
    bpftrace gdb python3 python3-yaml python3-pytest python3-pytest-xdist curl openssl procps binutils xz-utils git tzdata
)

# Left stopped: the tests start their own servers, on their own data directories.
services=(postgresql redis-server mariadb prometheus prometheus-alertmanager)

policy=/usr/sbin/policy-rc.d
policy_mark='# memtrace install-deps: no service is started while packages are installed'

die() {
    printf 'install-deps: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

is_installed() {
    [[ -n ${installed[$1]:-} ]]
}

# Fills `wanted` with the entries that no installed package satisfies.
find_missing() {
    local entry name found
    declare -gA installed=()
    while read -r name status; do
        if [[ $status == ?i* ]]; then installed[$name]=1; fi
    done < <(dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' 2>/dev/null)
    wanted=()
    for entry in "${packages[@]}"; do
        found=
        for name in ${entry//|/ }; do
            if is_installed "$name"; then found=1; fi
        done
        if [[ -z $found ]]; then wanted+=("$entry"); fi
    done
}

# Turns `a|b` into the first name that apt can install.
choose() {
    local name
    for name in ${1//|/ }; do
        if [[ -n $(apt-cache madison "$name" 2>/dev/null) ]]; then # `show` also succeeds for a name that is only referred to
            printf '%s\n' "$name"
            return
        fi
    done
    die "apt knows no package named ${1//|/ or }: enable the 'main' component of Debian $VERSION_ID and its updates"
}

# Tried again, for a mirror may be in the middle of an update, or the network down for a moment. Its messages are shown only if
# it fails.
apt_get() {
    local attempt
    for attempt in 1 2 3; do
        if DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
            "$@" >"$log" 2>&1 </dev/null; then
            return
        fi
        tail -n 30 "$log" >&2
        if ((attempt < 3)); then
            printf 'install-deps: apt-get %s failed, trying again\n' "$1" >&2
            sleep $((attempt * 5))
        fi
    done
    die "apt-get $1 failed three times"
}

forbid_service_starts() {
    if [[ -e $policy ]] && ! grep -qxF "$policy_mark" "$policy"; then return; fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
    remove_at_exit+=("$policy")
}

# Installation enables a service for the next boot, which nobody asked for either.
disable_new_services() {
    local service
    if [[ ! -d /run/systemd/system ]]; then return; fi
    for service in "${services[@]}"; do
        if [[ " ${new_services[*]:-} " == *" $service "* ]]; then systemctl --quiet disable "$service" || true; fi
    done
}

packages=("${build_packages[@]}" "${test_packages[@]}")
list=
for arg in "$@"; do
    case $arg in
    --build-only) packages=("${build_packages[@]}") ;;
    --list) list=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) die "unknown option $arg (--build-only, --list)" ;;
    esac
done

if [[ -n $list ]]; then
    printf '%s\n' "${packages[@]}"
    exit 0
fi

ID=unknown VERSION_ID=
if [[ -r /etc/os-release ]]; then
    # shellcheck source=/dev/null
    . /etc/os-release
fi
if [[ $ID != debian || ! $VERSION_ID =~ ^1[23]$ ]]; then
    die "this is ${PRETTY_NAME:-an unknown system}; I know Debian 12 and 13 only. Install the equivalents of: ${packages[*]}"
fi

wanted=()
find_missing
if ((${#wanted[@]} == 0)); then
    echo 'install-deps: nothing is missing'
    exit 0
fi
if ((EUID != 0)); then die "missing: ${wanted[*]}. Run it as root: sudo scripts/install-deps.sh"; fi

log=$(mktemp)
remove_at_exit=("$log")
trap 'rm -f "${remove_at_exit[@]}"' EXIT
apt_get update
chosen=()
new_services=()
for entry in "${wanted[@]}"; do
    name=$(choose "$entry")
    chosen+=("$name")
    case $name in
    postgresql-*) new_services+=(postgresql) ;;
    redis-server | prometheus | prometheus-alertmanager) new_services+=("$name") ;;
    esac
done
printf 'install-deps: installing %s\n' "${chosen[*]}"
forbid_service_starts
apt_get install --yes --no-install-recommends "${chosen[@]}"
disable_new_services

find_missing
if ((${#wanted[@]} > 0)); then die "still missing after the installation: ${wanted[*]}"; fi
echo 'install-deps: done'
