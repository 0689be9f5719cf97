#!/bin/bash
# What a program is made of: a bill of materials in CycloneDX 1.5, the copyright file of its Debian
# package, and the licence texts of everything that is linked into it. All of it from Cargo's own
# metadata, with no network; the same inputs make the same bytes.
#
#   generate.sh --package CARGO-PACKAGE [--also CARGO-PACKAGE] --program NAME --debian-package NAME \
#       --version VERSION --out DIR
#
# --also names a second program of the same Debian package, whose crates are listed too.
# Writes DIR/sbom.cdx.json, DIR/copyright and DIR/third-party-licenses.txt.
# SOURCE_DATE_EPOCH is the time that is written; where it is absent, that of the last commit.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
root=${KIOSK_SOURCE:-$(cd "$here/../.." && pwd)}

also=''
while [ $# -gt 0 ]; do
    case "$1" in
    --package) package=$2 ;;
    --also) also=$2 ;;
    --program) program=$2 ;;
    --debian-package) debian_package=$2 ;;
    --version) version=$2 ;;
    --out) out=$2 ;;
    *)
        echo "generate.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
: "${package:?--package is missing}" "${program:?--program is missing}" "${version:?--version is missing}"
: "${debian_package:?--debian-package is missing}" "${out:?--out is missing}"
cargo=${CARGO:-cargo}
target=$(rustc -vV | sed -n 's/^host: //p')
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$root"
"$cargo" metadata --format-version 1 --locked --offline --filter-platform "$target" >"$work/metadata.json"
# What these programs link, and no other of the workspace: features differ between them.
"$cargo" tree --locked --offline -p "$package" ${also:+-p "$also"} -e normal --target "$target" --prefix none -f '{p}' |
    awk 'NF { sub(/^v/, "", $2); print $1 "@" $2 }' | sort -u >"$work/linked"

jq --sort-keys --rawfile lock Cargo.lock --rawfile linked "$work/linked" \
    --arg root "$package" --arg program "$program" --arg version "$version" --argjson epoch "$epoch" \
    -f "$here/sbom.jq" "$work/metadata.json" >"$out/sbom.cdx.json"
jq --raw-output --rawfile linked "$work/linked" --arg package "$debian_package" \
    -f "$here/copyright.jq" "$work/metadata.json" >"$out/copyright"

# The texts themselves, each once, with the names of those whose it is.
jq --raw-output --rawfile linked "$work/linked" '
    ($linked | split("\n")) as $set
    | .packages[] | select(.source != null)
    | select("\(.name)@\(.version)" | IN($set[]))
    | "\(.name) \(.version)\t\(.manifest_path | rtrimstr("/Cargo.toml"))"' "$work/metadata.json" |
    sort >"$work/places"
cut -f 2 "$work/places" | tr '\n' '\0' | xargs -0 -I @@ find @@ -maxdepth 2 -type f \
    \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'unlicense*' -o -iname 'notice*' -o -iname 'copyright*' \) \
    ! -name '*.rs' ! -name '*.html' -size -128k -printf '%H\t%p\n' >"$work/files"
cut -f 2 "$work/files" | tr '\n' '\0' | xargs -0 sha256sum | cut -c 1-64 | paste - "$work/files" >"$work/texts"
{
    echo "Licences of what is linked into $program, as its authors published them."
    awk -F '\t' '
        FNR == NR { name[$2] = $1; next }
        { of[$1] = of[$1] "\n" name[$2]; if (!($1 in file)) { file[$1] = $3; order[++count] = $1 } }
        END {
            for (i = 1; i <= count; i++) {
                digest = order[i]
                print "\n======================================================================"
                lines = split(of[digest], names, "\n")
                for (j = 2; j <= lines; j++) if (j == 2 || names[j] != names[j - 1]) print "for " names[j]
                print "----------------------------------------------------------------------"
                while ((getline line <file[digest]) > 0) { sub(/\r$/, "", line); print line }
                close(file[digest])
            }
        }' "$work/places" <(sort -t $'\t' -k 1,1 -k 2,2 -k 3,3 "$work/texts")
    if grep -q '^kiosk-camera@' "$work/linked"; then
        echo "======================================================================"
        echo "for the model of the face detector (SeetaFace)"
        echo "----------------------------------------------------------------------"
        cat device-drivers/camera/models/LICENSE.seetaface
    fi
} >"$out/third-party-licenses.txt"
