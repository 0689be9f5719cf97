#!/bin/bash
# A store in which a case waits, as a real visit leaves it: the demo bench plays an application whose line
# fails before it is confirmed, and is switched off as soon as the case is in the queue.
#   waiting-case.sh --demo KIOSK-DEMO --kiosk KIOSK --out DIR
# Prints the directory of the state.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
demo='' kiosk='' out=''
while [ $# -gt 0 ]; do
    case "$1" in
    --demo) demo=$2 ;;
    --kiosk) kiosk=$2 ;;
    --out) out=$2 ;;
    *)
        echo "waiting-case.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
: "${demo:?--demo is missing}" "${kiosk:?--kiosk is missing}" "${out:?--out is missing}"
mkdir -p "$out/bench"
# The visit of the scenarios, up to the words that promise the case.
sed '/^text = "已受理·待上传"$/q' "$here/../../tests/scenarios/old-age-allowance.toml" >"$out/visit.toml"
cat >>"$out/visit.toml" <<'END'

[[step]]
do = "stay"
screen = "done"
seconds = 60
END
cd "$here/../.."
# A session of its own, so that bench and terminal can be switched off together, as by a power cut.
TMPDIR=$out/bench setsid "$demo" --headless --journey "$out/visit.toml" --out "$out/pictures" >"$out/demo.log" 2>&1 &
bench=$!
trap 'kill -KILL -- "-$bench" 2>/dev/null || true' EXIT
for _ in $(seq 120); do
    config=$(find "$out/bench" -name kiosk.toml | head -1)
    if [ -n "$config" ] && "$kiosk" queue list --json --config "$config" 2>/dev/null | grep -q '"kind":"case"'; then
        kill -KILL -- "-$bench" 2>/dev/null || true
        wait "$bench" 2>/dev/null || true
        echo "$(dirname "$config")/state"
        exit 0
    fi
    kill -0 "$bench" 2>/dev/null || break
    sleep 1
done
echo "no case came into the queue:" >&2
tail -5 "$out/demo.log" >&2
exit 1
