#!/bin/bash
# Whether alarms and dashboard speak of the metrics that README.md defines, of all of them, and rightly.
#   check.sh [DIR]
set -euo pipefail
directory=${1:-$(dirname "$0")}
cd "$directory"
status=0
complain() {
    echo "monitoring: $1" >&2
    status=1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n 's/^| `\(kiosk_[a-z_]*\)` | \([a-z]*\) | .*/\1 \2/p' README.md | sort >"$work/defined"
[ "$(wc -l <"$work/defined")" -ge 20 ] || complain "the table of README.md cannot be read"
[ -z "$(cut -d ' ' -f 1 "$work/defined" | uniq -d)" ] || complain "a metric is defined twice"

# The names of OpenMetrics: a counter ends in _total, information in _info, a unit is in the name.
while read -r name type; do
    case "$type" in
    counter) [[ $name == *_total ]] || complain "$name is a counter and does not end in _total" ;;
    info) [[ $name == *_info ]] || complain "$name is information and does not end in _info" ;;
    gauge | stateset) [[ $name != *_total && $name != *_info ]] || complain "$name is no counter and no information" ;;
    *) complain "$name is of no type: $type" ;;
    esac
done <"$work/defined"
grep '^| `kiosk_' README.md | grep '| s\( since 1970\)\{0,1\} |' | grep -v '^| `kiosk_[a-z_]*_seconds`' |
    grep -q . && complain "a time has no _seconds in its name"
grep '^| `kiosk_' README.md | grep '| B |' | grep -v '^| `kiosk_[a-z_]*_bytes`' | grep -q . && complain "a size has no _bytes in its name"

jq -e . dashboard.json >/dev/null || complain "dashboard.json is no JSON"
jq -r '.panels[].targets[]?.expr, .templating.list[].definition // empty' dashboard.json >"$work/dashboard"
# Expressions of rules, whether on the line or folded below it; words of annotations are no expressions.
awk '/^ *#/ { next }
     /^ *expr:/ { on = 1; sub(/^ *expr: *(>-)?/, ""); print; next }
     on && /^ *(for|labels|annotations|- alert|- record):/ { on = 0 }
     on { print }' alerts.yml >"$work/alerts"
[ -s "$work/dashboard" ] && [ -s "$work/alerts" ] || complain "there are no expressions"

# Labels that have the name of their stateset stand in braces or after `by`.
grep -oh '\bkiosk_[a-z_]*' "$work/dashboard" "$work/alerts" | sort -u >"$work/used"
cut -d ' ' -f 1 "$work/defined" >"$work/names"
while read -r name; do complain "$name is used and not defined"; done < <(comm -23 "$work/used" "$work/names")
while read -r name; do complain "$name is defined and used nowhere"; done < <(comm -13 "$work/used" "$work/names")

# A rate needs a counter; the difference of a gauge is no rate.
counters=$(awk '$2 == "counter" { print $1 }' "$work/defined")
while read -r name; do
    grep -qx "$name" <<<"$counters" || complain "$name is no counter and stands in increase() or rate()"
done < <(grep -ohE '\b(increase|rate)\(kiosk_[a-z_]*' "$work/dashboard" "$work/alerts" | sed 's/.*(//' | sort -u)
while read -r name; do
    grep -qx "$name" <<<"$counters" && complain "$name is a counter: delta() and a bare comparison mean nothing"
done < <(grep -ohE '\b(delta|deriv)\(kiosk_[a-z_]*' "$work/dashboard" "$work/alerts" | sed 's/.*(//' | sort -u)

# Every alarm says how bad it is, who acts and what to do.
awk '/^ *- alert:/ { name = $3; alerts[name] = 1 }
     name && /severity: (page|ticket|note)[, ]/ { severity[name] = 1 }
     name && /acts: (village|technician|operator)[ }]/ { acts[name] = 1 }
     name && /^ *summary: ./ { summary[name] = 1 }
     name && /^ *action: ./ { action[name] = 1 }
     END { for (name in alerts) if (!severity[name] || !acts[name] || !summary[name] || !action[name]) print name }' alerts.yml |
    sort >"$work/mute"
while read -r name; do complain "the alarm $name does not say its severity, who acts, or what to do"; done <"$work/mute"
[ -z "$(grep -o '^ *- alert: .*' alerts.yml | sort | uniq -d)" ] || complain "two alarms have one name"

# Panels: each once, each with a title, words and a source; none over another.
jq -e '[.panels[].id] | length == (unique | length)' dashboard.json >/dev/null || complain "two panels have one id"
jq -e 'all(.panels[] | select(.type != "row"); (.title | length) > 0 and (.description | length) > 0 and (.targets | length) > 0 and .datasource.uid == "${source}")' dashboard.json >/dev/null ||
    complain "a panel has no title, words, query or source"
jq -e '[.panels[] | .gridPos as $g | range($g.x; $g.x + $g.w) as $x | range($g.y; $g.y + $g.h) as $y | "\($x),\($y)"] | length == (unique | length)' dashboard.json >/dev/null ||
    complain "two panels lie over each other"
jq -e 'all(.panels[].gridPos; .x + .w <= 24)' dashboard.json >/dev/null || complain "a panel is wider than the page"

if command -v promtool >/dev/null; then
    promtool check rules alerts.yml >"$work/said" 2>&1 || complain "$(cat "$work/said")"
    promtool test rules alerts-test.yml >"$work/said" 2>&1 || complain "$(cat "$work/said")"
    rules="rules checked and tested by promtool"
else
    rules="promtool is not installed: the rules' own tests were not run"
fi
[ "$status" -ne 0 ] ||
    echo "monitoring: $(wc -l <"$work/names") metrics, $(grep -c -- '- alert:' alerts.yml) alarms, $(jq '[.panels[] | select(.type != "row")] | length' dashboard.json) panels; $rules"
exit "$status"
