#!/bin/sh
# Installs the system packages that are missing; does nothing, and needs no rights, when none is.
set -eu
cd "$(dirname "$0")"
packages=$(grep -v '^#' debian-packages.txt)
missing=
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "Installing system packages:$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These packages are missing and this user may not install them. As root, run:" >&2
        echo "  apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# shellcheck disable=SC2086 # one word a package
$as_root apt-get install -q -y --no-install-recommends $missing
