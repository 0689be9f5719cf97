#!/bin/bash
# How much a bug in one of our programs could do to the machine, in systemd's own measure (0 to 10), and
# the most that is allowed; then whether the units mean what they say.
#   check-units.sh [DIR]
# DIR is where the units are, packaging/systemd unless said otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
units=${1:-$here/systemd}
status=0

most() { # UNIT TENTHS
    local measured
    if measured=$(systemd-analyze security --offline=yes --no-pager --threshold="$2" "$units/$1" 2>&1); then
        measured=$(sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$measured")
        echo "$1: exposure $measured, at most $(($2 / 10)).$(($2 % 10))"
    else
        sed -n 's/^→ /'"$1"': /p' <<<"$measured" >&2
        status=1
    fi
}
most kiosk.service 15
most kiosk-display.service 15
most kiosk-updater.service 30
most kiosk-updater-stick.service 30

# A threshold that nothing can miss would prove nothing.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -v '^\(SystemCallFilter\|CapabilityBoundingSet\|Restrict\|Protect\|Private\)' "$units/kiosk.service" >"$work/kiosk.service"
if systemd-analyze security --offline=yes --no-pager --threshold=15 "$work/kiosk.service" >/dev/null 2>&1; then
    echo "a terminal without its sandbox passes: the threshold is not checked" >&2
    status=1
fi

# What the terminal cannot do without, whoever tightens the sandbox next.
needs() { # UNIT LINE
    grep -qx -- "$2" "$units/$1" || {
        echo "$1: the line $2 is gone" >&2
        status=1
    }
}
needs kiosk-updater.timer 'OnBootSec=1min'
needs kiosk-updater-stick.path 'PathChanged=/var/lib/kiosk/update-from-stick.json'
needs kiosk.service 'Type=notify'
needs kiosk.service 'WatchdogSec=[0-9]*'
needs kiosk.service 'Restart=always'
needs kiosk.service 'StartLimitIntervalSec=0'
needs kiosk.service 'User=kiosk'
needs kiosk.service 'LimitCORE=0'
for class in 4 188 166 189 180 13 81 116 hidraw; do
    needs kiosk.service "DeviceAllow=char-$class rw"
done
for family in AF_UNIX AF_INET AF_INET6 AF_NETLINK; do
    needs kiosk.service "RestrictAddressFamilies=.*\b$family\b.*"
done

# Spelling, targets, sockets. The programs need not be installed here for that.
mkdir "$work/units"
for unit in "$units"/*; do
    sed -e 's|^\(Exec[A-Za-z]*=-\{0,1\}\)[^ ]*|\1/bin/true|' -e '/^ExecSearchPath=/d' "$unit" >"$work/units/$(basename "$unit")"
done
complaints=$(SYSTEMD_UNIT_PATH="$work/units:" systemd-analyze verify --man=no "$work"/units/* 2>&1 |
    grep "$work/units\|^kiosk" | grep -v 'Failed to prepare filename\|does not exist' || true)
if [ -n "$complaints" ]; then
    printf '%s\n' "$complaints" >&2
    status=1
fi
exit "$status"
