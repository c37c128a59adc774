#!/bin/bash
# Runs a command of this tree on one of Debian's own kernels, in an emulated machine: what a kernel lacks, and what its verifier
# refuses, shows only there. Needs neither root nor KVM; takes some 15 s beyond the command, which runs 10 to 20 times slower.
#
#   scripts/vm-run.sh [--kernel 6.1] [--add PATH]... [--out DIR] [--timeout 300] [--cpus 2] [--memory 1536] [--append WORDS]
#                     [--] COMMAND [ARG...]
#
#   scripts/vm-run.sh -- .output/memtrace doctor
#   scripts/vm-run.sh --kernel 6.12 -- sh -c '.output/memtrace -- .output/targets/family && dmesg'
#
#   --kernel V      6.1 (Debian 12) or 6.12 (Debian 13 and backports to 12); fetched once, from the mirror that apt uses
#   --add PATH      file or directory for the machine, at the same path, with the libraries it needs; relative: to this tree
#   --out DIR       receives what the command wrote to /out, and the kernel's log as dmesg
#   --timeout S     for the whole run; 124 is returned when it is over
#   --memory MIB    --cpus N    of the emulated machine
#   --append WORDS  for the kernel's command line, e.g. preempt=full
#
# The machine has busybox, this tree's memtrace, its targets and their libraries, and nothing else that is not added: no network,
# no disk. The command starts as root in what corresponds to the top of this tree; its output and its status are passed on.
set -euo pipefail

kernel=6.1
add=()
out=
timeout=300
cpus=2
memory=1536
append=
# Where the tree is in the machine.
tree=/tree

die() {
    printf 'vm-run: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

while (($# > 0)); do
    case $1 in
    --kernel | --out | --timeout | --cpus | --memory | --append | --add)
        if (($# < 2)); then die "$1 wants a value"; fi
        if [[ $1 == --add ]]; then add+=("$2"); else printf -v "${1#--}" '%s' "$2"; fi
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    --)
        shift
        break
        ;;
    -*) die "unknown option $1, try --help" ;;
    *) break ;;
    esac
    shift
done
(($# > 0)) || die "no command given, try --help"
[[ $kernel =~ ^6\.(1|12)$ ]] || die "--kernel knows 6.1 and 6.12"
[[ $timeout$cpus$memory =~ ^[0-9]+$ ]] || die "--timeout, --cpus and --memory want numbers"
[[ $(dpkg --print-architecture) == amd64 ]] || die "the emulated machine is x86-64, and so must be what runs on it"
for tool in qemu-system-x86_64 cpio busybox strip; do
    command -v "$tool" >/dev/null || die "$tool is missing: run sudo scripts/install-deps.sh"
done
if [[ -n $out ]]; then
    mkdir -p "$out"
    out=$(realpath "$out")
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=.output/vm
[[ -x .output/memtrace ]] || die ".output/memtrace is not built: run make"
mkdir -p "$cache"
scratch=$(mktemp -d "$PWD/$cache/run.XXXXXX")
qemu=
clean_up() {
    if [[ -n $qemu ]]; then kill "$qemu" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 143' TERM HUP
trap 'exit 130' INT

# ---- the kernel ----------------------------------------------------------------------------------------------------------------

# The newest package of that series which apt knows with these options; nothing where it knows none.
newest_package() {
    apt-cache "$@" --names-only search "^linux-image-${kernel/./\\.}\\.[0-9a-z.+~-]*-cloud-amd64\$" |
        cut -d ' ' -f 1 | sort -V | tail -n 1
}

# The mirrors of Debian's main archive in this machine's sources, one per line; more than one where others use Debian's names.
mirrors() {
    local VERSION_CODENAME=
    # shellcheck source=/dev/null
    . /etc/os-release
    apt-get --print-uris update | sed -nE "s,^'(.*)/dists/($VERSION_CODENAME|(old)*stable)/(In)?Release'.*,\1,p" | sort -u
}

# Sets `options` to those under which apt knows what that mirror has for the release with this kernel: lists of our own, as this
# machine's release may be another.
use_mirror() {
    local suite=bookworm
    if [[ $kernel == 6.12 ]]; then suite=trixie; fi
    rm -rf "$scratch/apt"
    mkdir -p "$scratch/apt/lists/partial" "$scratch/apt/cache/archives/partial"
    printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$1" "$suite" \
        >"$scratch/apt/sources.list"
    options=(-o "Dir::Etc::SourceList=$scratch/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$scratch/apt/lists" -o "Dir::Cache=$scratch/apt/cache"
        -o Acquire::Languages=none -o Acquire::PDiffs=false)
}

fetch() {
    apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@" >"$scratch/apt.log" 2>&1 </dev/null
}

# Downloads into the scratch directory. False where apt, with these options, cannot.
download() {
    local package
    package=$(newest_package "$@")
    [[ -n $package ]] || return 1
    (cd "$scratch" && fetch "$@" download "$package")
}

fetch_kernel() {
    local mirror options
    if [[ -f $cache/vmlinuz-$kernel ]]; then return; fi
    printf 'vm-run: fetching a kernel %s\n' "$kernel" >&2
    if ! download; then
        for mirror in $(mirrors); do
            use_mirror "$mirror"
            if fetch "${options[@]}" update && download "${options[@]}"; then break; fi
        done
    fi
    if ! compgen -G "$scratch/linux-image-*.deb" >/dev/null; then
        if [[ -f $scratch/apt.log ]]; then cat "$scratch/apt.log" >&2; fi
        die "cannot fetch a kernel $kernel from the sources of Debian packages that apt knows here"
    fi
    dpkg-deb --fsys-tarfile "$scratch"/linux-image-*.deb | tar -x -C "$scratch" --wildcards './boot/vmlinuz-*'
    mv "$scratch"/boot/vmlinuz-* "$cache/vmlinuz-$kernel" # whole, or not at all
    rm "$scratch"/linux-image-*.deb
}

# ---- what the machine holds ----------------------------------------------------------------------------------------------------

root=$scratch/root

# The libraries of the programs and libraries named, at the paths where the loader looks for them.
add_libraries() {
    local library
    { ldd "$@" 2>/dev/null || true; } | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u | while read -r library; do
        if [[ ! -e $root$library ]]; then
            mkdir -p "$root$(dirname "$library")"
            cp -pL "$library" "$root$library"
        fi
    done
}

add_path() {
    local path=$1 to
    [[ -e $path ]] || die "--add $path: there is no such file"
    if [[ $path == /* ]]; then to=$root$path; else to=$root$tree/$path; fi
    mkdir -p "$(dirname "$to")"
    cp -rpLT "$path" "$to"
    mapfile -t programs < <(find -L "$path" -type f \( -perm /111 -o -name '*.so*' \))
    if ((${#programs[@]} > 0)); then add_libraries "${programs[@]}"; fi
}

make_init() {
    cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/usr/sbin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
mkdir -p /out
. /command </dev/null
echo $? >/out/status
dmesg >/out/dmesg
stty -F /dev/ttyS1 raw
tar -cz -C /out . >/dev/ttyS1
echo 0 >/proc/sys/kernel/printk # it would say goodbye on the console
poweroff -f
INIT
    printf '(cd %s && exec %s)\n' "$tree" "${*@Q}" >"$root/command"
    chmod 755 "$root/init"
}

make_image() {
    local directory target
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{proc,sys,dev,tmp,root,etc,out} "$root$tree/.output/targets"
    for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done
    cp "$(command -v busybox)" "$root/bin/busybox"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    strip -o "$root$tree/.output/memtrace" .output/memtrace # its own symbols are nobody's concern there
    add_libraries .output/memtrace
    for target in .output/targets/*; do
        if [[ -f $target && -x $target ]]; then add_path "$target"; fi
    done
    for target in "${add[@]}"; do add_path "$target"; done
    make_init "$@"
    (cd "$root" && find . -print0 | cpio --null --quiet --create --format=newc --owner=0:0) >"$scratch/initrd"
}

# ---- the run -------------------------------------------------------------------------------------------------------------------

# Sets `processors` to QEMU's options for them: side by side from QEMU 8.1 on. Before, one could run code that another had
# replaced meanwhile, and the kernel, which patches its own (static keys, on which BPF statistics are), died of a forgotten
# breakpoint, "Oops: int3" (fixed by QEMU commit deba78709a, "accel/tcg: Always lock pages before translation"). So there they
# take turns; and have no cmpxchg16b, which in turns was seen to leave garbage in the flags: 6.12, whose allocator uses it,
# died in double faults.
choose_processors() {
    local version
    version=$(qemu-system-x86_64 --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    if [[ $(printf '8.1\n%s\n' "$version" | sort -V | head -n 1) == 8.1 ]]; then
        processors=(-accel 'tcg,thread=multi' -cpu max)
    else
        processors=(-accel 'tcg,thread=single' -cpu 'max,cx16=off')
    fi
}

choose_processors
fetch_kernel
make_image "$@"
rm -rf "$root"
# The serial lines: the console, and the results as an archive, which the console's text could not carry unharmed.
timeout --foreground --kill-after=10 "$timeout" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none \
    -machine pc "${processors[@]}" -smp "$cpus" -m "$memory" \
    -kernel "$cache/vmlinuz-$kernel" -initrd "$scratch/initrd" \
    -append "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off no_timer_check cryptomgr.notests $append" \
    -serial stdio -serial "file:$scratch/results.tar.gz" </dev/null > >(tr -d '\r') &
qemu=$!
status=0
wait "$qemu" || status=$?
qemu=
if ((status == 124)); then
    printf 'vm-run: the command was not done in %s s\n' "$timeout" >&2
    exit 124
fi
((status == 0)) || die "the emulated machine failed with status $status"
mkdir "$scratch/results"
tar -xzf "$scratch/results.tar.gz" -C "$scratch/results" 2>/dev/null || die "the emulated machine ended before the command did"
status=$(<"$scratch/results/status")
if [[ -n $out ]]; then cp -r "$scratch/results/." "$out/"; fi
exit "$status"
