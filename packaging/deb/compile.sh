#!/bin/bash
# Compiles the programs of a release, so that the same commit gives the same bytes wherever it is compiled:
#   compile.sh [--target DIR]
# No path of this machine gets into a program: neither that of the source, nor of the compiler's output,
# nor of downloaded packages. The programs are in DIR/release.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
while [ $# -gt 0 ]; do
    case "$1" in
    --target) target=$2 ;;
    *)
        echo "compile.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
mkdir -p "$target"
target=$(cd "$target" && pwd)
home=${CARGO_HOME:-$HOME/.cargo}
case $home$root$target in
*[[:space:]]*)
    echo "compile.sh: a path with a space cannot be mapped away; compile elsewhere" >&2
    exit 2
    ;;
esac
export CARGO_TARGET_DIR=$target
# The last rule that fits counts, and the output may lie below the source.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$home=/cargo --remap-path-prefix=$root=/source --remap-path-prefix=$target=/target"
# For the libraries in C, which name their files in assertions.
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$root=/source -ffile-prefix-map=$target=/target"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export LC_ALL=C.UTF-8 TZ=UTC
cd "$root"
exec "${CARGO:-cargo}" build --locked --release -p kiosk-app -p kiosk-admin -p kiosk-update --bins
