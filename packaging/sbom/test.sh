#!/bin/bash
# The bill of materials of the terminal is whole, the same twice, and the check notices what is not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}

make_one() {
    "$here/generate.sh" --package kiosk-app --program kiosk --debian-package kiosk-terminal --version 1.2.3 --out "$work/$1"
}
make_one first
make_one second
"$here/check.sh" "$work/first/sbom.cdx.json"
diff -r "$work/first" "$work/second" >/dev/null || { echo "two bills of materials of the same source differ" >&2; exit 1; }
for name in rusqlite slint rustls; do
    jq -e --arg name "$name" 'any(.components[]; .name == $name)' "$work/first/sbom.cdx.json" >/dev/null ||
        { echo "$name is linked and not listed" >&2; exit 1; }
done
# Only tests use it.
if jq -e 'any(.components[]; .name == "proptest")' "$work/first/sbom.cdx.json" >/dev/null; then
    echo "proptest is listed and not linked" >&2
    exit 1
fi

broken=0
for change in '.bomFormat = "SPDX"' 'del(.specVersion)' '.version = 0' '.metadata.timestamp = "yesterday"' \
    'del(.components[3].name)' '.components[3].type = "thing"' '.components[3].purl = "pkg:cargo/x@1"' \
    '.components[4] = .components[3]' 'del(.components[] | select(.name == "slint") | .hashes)' \
    '(.components[] | select(.name == "slint") | .hashes[0].content) = "00"' \
    '.components[3].licenses[0].expression = "SSPL-1.0"' '.dependencies[3].dependsOn += ["pkg:cargo/nobody@1"]' \
    'del(.dependencies[] | select(.ref | startswith("pkg:cargo/slint@")))' '.components = []'; do
    jq "$change" "$work/first/sbom.cdx.json" >"$work/broken.json"
    if "$here/check.sh" "$work/broken.json" 2>/dev/null; then
        echo "the check did not notice: $change" >&2
        exit 1
    fi
    broken=$((broken + 1))
done
echo "bill of materials: $(jq '.components | length' "$work/first/sbom.cdx.json") components; $broken broken ones noticed"
