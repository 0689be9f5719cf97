#!/bin/bash
# Whether the same commit gives the same packages, byte for byte: compiles it here and once more from a
# clone, with other paths of source, output and downloaded packages, another zone, language and mask.
#   twice.sh [--target DIR]
# Takes twice the time and room of a release build. Only what is committed is compared.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
while [ $# -gt 0 ]; do
    case "$1" in
    --target) target=$2 ;;
    *)
        echo "twice.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
if [ -n "$(git -C "$root" status --porcelain --untracked-files=no)" ]; then
    echo "twice.sh: something is not committed; the clone would not have it" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/compile.sh" --target "$target"
git clone --quiet "$root" "$work/deeper/source"
mkdir -p "$work/home" "$work/first" "$work/second"
# What was downloaded already is not downloaded again; a link is as good as a copy where it can be made.
for part in registry git config.toml; do
    from=${CARGO_HOME:-$HOME/.cargo}/$part
    [ ! -e "$from" ] || cp -al "$from" "$work/home/" 2>/dev/null || cp -a "$from" "$work/home/"
done
(
    umask 077
    CARGO_HOME=$work/home TZ=Asia/Shanghai LANG=zh_CN.UTF-8 \
        "$work/deeper/source/packaging/deb/compile.sh" --target "$work/out"
)
for program in kiosk kiosk-admin kiosk-updater; do
    cp "$target/release/$program" "$work/first/"
    cp "$work/out/release/$program" "$work/second/"
done
"$here/reproducible.sh" --binaries "$work/first" --against "$work/second"
