#!/bin/bash
# Whether a bill of materials has what CycloneDX 1.5 requires and what an auditor looks for.
#   check.sh FILE
# Exit status 0: it has; 1: the first thing that is wrong is named.
set -euo pipefail
file=$1
here=$(cd "$(dirname "$0")" && pwd)
allowed=$(sed -n '/^allow = \[/,/^]/p' "${KIOSK_SOURCE:-$here/../..}/deny.toml" | grep -o '"[^"]*"' | jq -sc .)

wrong() { echo "$file: $1" >&2; exit 1; }
holds() { jq -e --argjson allowed "$allowed" "$2" "$file" >/dev/null || wrong "$1"; }

jq -e . "$file" >/dev/null 2>&1 || wrong "is no JSON"
holds "bomFormat is not CycloneDX" '.bomFormat == "CycloneDX"'
holds "specVersion is not 1.5" '.specVersion == "1.5"'
holds "version is no number from 1" '(.version | type) == "number" and .version >= 1 and .version == (.version | floor)'
holds "the time is none" '.metadata.timestamp | fromdate > 0'
holds "it does not say of what it is" '.metadata.component | .type == "application" and (.name | length) > 0 and (.version | length) > 0'
holds "there are no components" '.components | length > 100'
holds "a component has no type, name or version" \
    'all(.components[]; (.type | IN("application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver", "firmware", "file", "machine-learning-model", "data")) and (.name | type == "string" and length > 0) and (.version | type == "string" and length > 0))'
holds "a scope is none" 'all(.components[]; .scope | IN("required", "optional", "excluded"))'
holds "a package URL is none" 'all(.components[]; .purl == "pkg:cargo/\(.name)@\(.version)")'
holds "a reference stands twice" '[.metadata.component["bom-ref"], .components[]["bom-ref"]] | length == (unique | length)'
holds "a digest is none" 'all(.components[].hashes // [] | .[]; .alg == "SHA-256" and (.content | test("^[0-9a-f]{64}$")))'
# Our own crates are the only ones without a digest in Cargo.lock.
holds "a crate from outside has no digest" \
    'all(.components[] | select(has("hashes") | not); .licenses[0].expression == "GPL-3.0-only" and (has("externalReferences") | not))'
holds "a component has no licence" 'all(.components[]; .licenses | length == 1 and (.[0].expression | length) > 0)'
# One branch of every choice has to be allowed.
holds "a licence is not allowed by deny.toml" \
    'all(.components[].licenses[0].expression | split(" AND ")[] | gsub("[()]"; "");
        any(split(" OR ")[]; IN($allowed[])))'
holds "a dependency is of nobody here" \
    '[.metadata.component["bom-ref"], .components[]["bom-ref"]] as $refs
     | all(.dependencies[]; (.ref | IN($refs[])) and all(.dependsOn[]; IN($refs[])))'
holds "a component has no entry among the dependencies" \
    '[.dependencies[].ref] as $refs | all(.components[]["bom-ref"]; IN($refs[]))'
