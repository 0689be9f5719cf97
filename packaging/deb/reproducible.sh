#!/bin/bash
# Whether the same programs make the same packages, byte for byte, however the machine is set up.
#   reproducible.sh --binaries DIR [--against DIR]
# With --against, the second package is made of the programs in that directory: a second build of the same
# commit somewhere else, so that the compiler is asked too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binaries='' against=''
while [ $# -gt 0 ]; do
    case "$1" in
    --binaries) binaries=$2 ;;
    --against) against=$2 ;;
    *)
        echo "reproducible.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
: "${binaries:?--binaries is missing}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/build.sh" --binaries "$binaries" --out "$work/first" --level 1 >/dev/null
# Another time, zone, language, mask, place, and files in the order in which another disk lists them.
(
    umask 077
    mkdir -p "$work/elsewhere/deeper"
    TMPDIR=$work/elsewhere/deeper TZ=Asia/Shanghai LANG=zh_CN.UTF-8 LC_ALL='' \
        "$here/build.sh" --binaries "${against:-$binaries}" --out "$work/second" --level 1 >/dev/null
)
status=0
for file in "$work"/first/*; do
    name=$(basename "$file")
    if cmp -s "$file" "$work/second/$name"; then
        echo "the same: $name $(sha256sum <"$file" | cut -c 1-16)"
        continue
    fi
    status=1
    echo "not the same: $name" >&2
    case "$name" in *.deb)
        for side in first second; do
            dpkg-deb --raw-extract "$work/$side/$name" "$work/$side-files" && (cd "$work/$side-files" && find . -type f -exec sha256sum {} + | sort -k 2) >"$work/$side-list"
            rm -rf "$work/$side-files"
        done
        diff "$work/first-list" "$work/second-list" >&2 || true
        ;;
    esac
done
exit "$status"
