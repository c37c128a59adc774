#!/bin/bash
# Packs what `make install` installs into .output/memtrace_VERSION_ARCH.deb. Called by `make deb`, which has built it; needs dpkg-dev.
# The package is for the Debian that it is built on: its dependencies are those of the programs in it (dpkg-shlibdeps).
#
#   scripts/debian/build-deb.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${1:?a version}
arch=$(dpkg --print-architecture)
libdir=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/memtrace # our own: nobody links against what is in it
work=.output/deb
root=$work/root
package=.output/memtrace_${version}_$arch.deb
# Two builds of one commit are one package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -c safe.directory='*' log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}
export SOURCE_DATE_EPOCH

umask 022
rm -rf "$work"
mkdir -p "$root/DEBIAN" "$work/debian"
make -s -o all install DESTDIR="$PWD/$root" PREFIX=/usr LIBDIR="$libdir" >"$work/install.log"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/memtrace"
strip --strip-unneeded --remove-section=.comment "$root$libdir/libmemtrace_alloc.so"
chmod 0644 "$root$libdir/libmemtrace_alloc.so" # as Debian has its libraries
gzip -9n "$root/usr/share/man/man8/memtrace.8"

doc=$root/usr/share/doc/memtrace
mkdir -p "$doc"
cp scripts/debian/README.Debian "$doc/"
{
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: memtrace\n\n'
    printf 'Files: *\nCopyright: %s\nLicense: BSD-2-Clause\n' "$(sed -n 's/^Copyright (c) //p' LICENSE)"
    sed -n '/^Redistribution/,$p' LICENSE | sed -e 's/^$/./' -e 's/^/ /'
} >"$doc/copyright"
printf 'memtrace (%s) unstable; urgency=medium\n\n  * See the history of its repository.\n\n -- %s  %s\n' "$version" \
    'the memtrace authors <memtrace@localhost>' "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
install -D -m 0644 scripts/debian/lintian-overrides "$root/usr/share/lintian/overrides/memtrace"

printf 'Source: memtrace\n\nPackage: memtrace\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O -e root/usr/bin/memtrace -e "root$libdir/libmemtrace_alloc.so" 2>shlibdeps.log |
    sed -n 's/^shlibs:Depends=//p')
if [[ -z $depends ]]; then
    cat "$work/shlibdeps.log" >&2
    echo 'build-deb: dpkg-shlibdeps named no dependencies' >&2
    exit 1
fi
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@DEPENDS@/$depends/" \
    -e "s/@SIZE@/$(du -k --exclude=DEBIAN -s "$root" | cut -f 1)/" scripts/debian/control.in >"$root/DEBIAN/control"
for script in postinst prerm postrm; do install -m 0755 "scripts/debian/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
(cd "$root" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package: $(stat -c %s "$package") bytes"
