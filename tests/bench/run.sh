#!/bin/bash
# Races the queue against its peers, measures envelopes and the drain over a thin line, and writes
# the tables of README.md. On an idle machine: about an hour as it stands, most of it waiting for
# the disk. For a look that everything works:
#   OPERATIONS=200 BACKLOGS=0,1000 COUNTED=50 BUDGET_S=20 REPEATS=5 TRANSACTIONS=200 WRITE=no tests/bench/run.sh
set -eu -o pipefail
cd "$(dirname "$0")/../.."

OPERATIONS=${OPERATIONS:-10000}
BACKLOGS=${BACKLOGS:-0,100000,1000000}
BLOCK=${BLOCK:-20}
COUNTED=${COUNTED:-1000}
BUDGET_S=${BUDGET_S:-300}
REPEATS=${REPEATS:-200}
TRANSACTIONS=${TRANSACTIONS:-4000}
# Which of: queue sealing line
PARTS=${PARTS:-queue sealing line}
# The directory on the disk to be measured (a million records take some 3 GiB in each of seven
# stores), and one in memory where stores are filled, one after the other.
WORK=${WORK:-target/bench}
SCRATCH=${SCRATCH:-/dev/shm/kiosk-bench}
# yes: results.json and README.md of this directory are written. no: only $WORK/results.json is.
WRITE=${WRITE:-yes}
CARGO=${CARGO:-cargo}
TARGET=${CARGO_TARGET_DIR:-target}
HERE=tests/bench

mkdir -p "$WORK"
WORK=$(realpath "$WORK")
REPORT=$WORK/results.json
# What is not measured this time keeps its figures.
if [ "$WRITE" = yes ] && [ -f $HERE/results.json ]; then
    cp $HERE/results.json "$REPORT"
fi

want() { case " $PARTS " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

# The queue and the envelopes need neither the glass nor the platform.
if want queue || want sealing; then
    $CARGO build --locked --release -p kiosk-measure --no-default-features
    cp "$TARGET/release/kiosk-measure" "$WORK/kiosk-measure"
fi

if want queue; then
    if [ ! -x "$WORK/venv/bin/python" ]; then
        python3 -m venv "$WORK/venv"
    fi
    "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check -r $HERE/peers/python/requirements.txt
    # The peer has a lock file of its own and its own place to build.
    (cd $HERE/peers/apalis && CARGO_TARGET_DIR="$WORK/apalis" $CARGO build --locked --release)
    python="$WORK/venv/bin/python -u $HERE/peers/python/driver.py"
    counted=$COUNTED
    if ! command -v strace >/dev/null; then
        echo "strace is not installed: syncs are not counted." >&2
        counted=0
    fi
    "$WORK/kiosk-measure" queue --operations "$OPERATIONS" --backlogs "$BACKLOGS" --block "$BLOCK" \
        --counted "$counted" --budget-s "$BUDGET_S" --work "$WORK/race" --scratch "$SCRATCH" \
        --peer "persist-queue SQLiteAckQueue=$python persist-queue" \
        --peer "litequeue, set to FULL=$python litequeue" \
        --peer "apalis-sqlite, set to FULL=$WORK/apalis/release/peer-apalis" \
        --report "$REPORT"
fi

if want sealing; then
    "$WORK/kiosk-measure" sealing --repeats "$REPEATS" --report "$REPORT"
fi

if want line; then
    $CARGO build --locked --release -p kiosk-measure
    "$TARGET/release/kiosk-measure" line --transactions "$TRANSACTIONS" --work "$WORK/line" --report "$REPORT"
fi

if [ "$WRITE" = yes ]; then
    cp "$REPORT" $HERE/results.json
    if want line; then tables="$TARGET/release/kiosk-measure"; else tables="$WORK/kiosk-measure"; fi
    "$tables" tables --report $HERE/results.json --readme $HERE/README.md
else
    echo "The figures are in $REPORT."
fi
