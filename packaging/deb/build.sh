#!/bin/bash
# Builds the Debian packages from programs that are already built:
#
#   build.sh --binaries DIR --out DIR [--version VERSION] [--level 0-9]
#
# KIOSK_ROOTS names a directory with the operator's program-root.json and items-root.json, which go into the
# package; without it they are laid into /usr/share/kiosk on the terminals.
# DIR holds `kiosk` and `kiosk-admin`, and `kiosk-updater` where there is one. Written are
# kiosk-terminal_VERSION-1_ARCH.deb and kiosk-admin_VERSION-1_ARCH.deb, and beside each its bill of
# materials. VERSION is that of the workspace unless said otherwise; --level is xz's (6).
#
# The same programs and the same commit make the same bytes (reproducible.sh): times are that of the last
# commit (SOURCE_DATE_EPOCH), owners are root, and nothing of this machine is written down.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
packaging=$root/packaging

binaries='' out='' version='' level=6
while [ $# -gt 0 ]; do
    case "$1" in
    --binaries) binaries=$(cd "$2" && pwd) ;;
    --out) mkdir -p "$2" && out=$(cd "$2" && pwd) ;;
    --version) version=$2 ;;
    --level) level=$2 ;;
    *)
        echo "build.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
[ -n "$binaries" ] && [ -n "$out" ] || {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
version=${version:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022
architecture=$(dpkg --print-architecture)
maintainer=${KIOSK_MAINTAINER:-Kiosk packagers <packagers@kiosk.example>}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# put MODE FILE NAME: a file of the package.
put() { install -D -m "$1" "$2" "$stage/$3"; }
# press FILE NAME: compressed, with no name and no time of its own.
press() {
    mkdir -p "$stage/$(dirname "$2")"
    gzip -9n <"$1" >"$stage/$2"
}

# The linker's build id is a hash of what was stripped too, which knows the place of its sources: it becomes
# one of what is packaged. Taking the note away instead takes RELRO with it (binutils 2.40).
name_build() { # FILE
    build_id "$1" "$(printf '%040d' 0)"
    build_id "$1" "$(sha256sum <"$1" | cut -c 1-40)"
}
build_id() { # FILE HEX
    # Sizes of name and content, the kind, the name.
    printf '\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0%b' "$(sed 's/../\\x&/g' <<<"$2")" >"$work/build-id"
    objcopy --update-section ".note.gnu.build-id=$work/build-id" "$1"
}

program() { # NAME: stripped, with its manual page
    put 0755 "$binaries/$1" "usr/bin/$1"
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$stage/usr/bin/$1"
    name_build "$stage/usr/bin/$1"
    "$packaging/man/generate.sh" "$stage/usr/bin/$1" "$packaging/man/$1.1.in" \
        "$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%B %-d, %Y')" >"$work/$1.1"
    press "$work/$1.1" "usr/share/man/man1/$1.1.gz"
}

documents() { # PACKAGE CARGO-PACKAGE PROGRAM GUIDE...
    local package=$1 cargo_package=$2 name=$3 guide
    shift 3
    local also=''
    [ ! -e "$stage/usr/bin/kiosk-updater" ] || also=kiosk-update
    "$packaging/sbom/generate.sh" --package "$cargo_package" ${also:+--also "$also"} --program "$name" --debian-package "$package" \
        --version "$version" --out "$work/sbom-$package"
    put 0644 "$work/sbom-$package/copyright" "usr/share/doc/$package/copyright"
    press "$work/sbom-$package/third-party-licenses.txt" "usr/share/doc/$package/third-party-licenses.txt.gz"
    press "$work/sbom-$package/sbom.cdx.json" "usr/share/doc/$package/sbom.cdx.json.gz"
    cp "$work/sbom-$package/sbom.cdx.json" "$out/${package}_$version.cdx.json"
    press "$root/CHANGELOG.md" "usr/share/doc/$package/changelog.gz"
    printf '%s (%s-1) unstable; urgency=medium\n\n  * Release %s; what changed is in changelog.gz.\n\n -- %s  %s\n' \
        "$package" "$version" "$version" "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$work/changelog"
    press "$work/changelog" "usr/share/doc/$package/changelog.Debian.gz"
    for guide in "$@"; do
        [ ! -e "$root/docs/$guide" ] || press "$root/docs/$guide" "usr/share/doc/$package/$guide.gz"
    done
}

# The libraries that the programs of this package need, in the versions that this machine built against.
libraries() {
    mkdir -p "$work/shlibs/debian"
    printf 'Source: kiosk\n\nPackage: x\nArchitecture: any\n' >"$work/shlibs/debian/control"
    (cd "$work/shlibs" && dpkg-shlibdeps -O "$stage"/usr/bin/* 2>"$work/shlibs/said") ||
        { cat "$work/shlibs/said" >&2; exit 1; }
}

finish() { # PACKAGE
    local package=$1 shlibs file
    shlibs=$(libraries | sed -n 's/^shlibs:Depends=//p')
    mkdir -p "$stage/DEBIAN"
    for file in postinst prerm postrm; do
        [ ! -e "$here/$package/$file" ] || install -m 0755 "$here/$package/$file" "$stage/DEBIAN/$file"
    done
    [ ! -e "$here/$package/conffiles" ] || install -m 0644 "$here/$package/conffiles" "$stage/DEBIAN/conffiles"
    [ ! -e "$here/$package/lintian-overrides" ] ||
        put 0644 "$here/$package/lintian-overrides" "usr/share/lintian/overrides/$package"
    (cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
    # In kibibytes as files are, not as this machine's disk stores them.
    local size
    size=$(find "$stage" -path "$stage/DEBIAN" -prune -o -type f -printf '%s\n' -o -type d -printf '1024\n' |
        awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
    sed -e "s/@VERSION@/$version-1/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@MAINTAINER@/$maintainer/" \
        -e "s/@SIZE@/$size/" -e "s/@SHLIBS@/$shlibs/" "$here/$package/control" >"$stage/DEBIAN/control"
    find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    # One thread: several cut the stream where the machine's processors happen to be.
    dpkg-deb --root-owner-group -Zxz "-z$level" --threads-max=1 --build "$stage" \
        "$out/${package}_$version-1_$architecture.deb" >/dev/null
    echo "$out/${package}_$version-1_$architecture.deb"
}

terminal() {
    stage=$work/kiosk-terminal
    program kiosk
    (cd "$root/kiosk-app/items" && find . -type f -printf '%P\n' | sort) | while read -r file; do
        put 0644 "$root/kiosk-app/items/$file" "usr/share/kiosk/items/$file"
    done
    put 0644 "$packaging/config/kiosk.toml" etc/kiosk/kiosk.toml
    put 0644 "$packaging/display/weston.ini" etc/kiosk-display/weston.ini
    put 0644 "$packaging/display/pam" etc/pam.d/kiosk-display
    for unit in kiosk.service kiosk-display.service kiosk-display.socket; do
        put 0644 "$packaging/systemd/$unit" "usr/lib/systemd/system/$unit"
    done
    put 0644 "$packaging/udev/60-kiosk.rules" usr/lib/udev/rules.d/60-kiosk.rules
    put 0644 "$packaging/udev/59-kiosk-usb-authorization.rules" \
        usr/share/doc/kiosk-terminal/examples/59-kiosk-usb-authorization.rules
    put 0644 "$packaging/sysctl/60-kiosk.conf" usr/lib/sysctl.d/60-kiosk.conf
    put 0644 "$packaging/logind/60-kiosk.conf" usr/lib/systemd/logind.conf.d/60-kiosk.conf
    put 0644 "$packaging/manager/60-kiosk.conf" usr/lib/systemd/system.conf.d/60-kiosk.conf
    put 0644 "$packaging/sysusers/kiosk.conf" usr/lib/sysusers.d/kiosk.conf
    put 0644 "$packaging/tmpfiles/kiosk.conf" usr/lib/tmpfiles.d/kiosk.conf
    # The updater comes with the terminal as soon as there is one.
    if [ -e "$binaries/kiosk-updater" ]; then
        program kiosk-updater
        for unit in kiosk-updater.service kiosk-updater.timer kiosk-updater-stick.service kiosk-updater-stick.path; do
            put 0644 "$packaging/systemd/$unit" "usr/lib/systemd/system/$unit"
        done
        # An operator who builds the package puts the own roots into it; who takes it ready-made lays them
        # there (docs/administrator.md). Without one the updater believes nobody.
        for root_of in program items; do
            [ ! -e "${KIOSK_ROOTS:-/nonexistent}/$root_of-root.json" ] ||
                put 0644 "$KIOSK_ROOTS/$root_of-root.json" "usr/share/kiosk/$root_of-root.json"
        done
        put 0644 "$packaging/updater/updater.toml" usr/share/doc/kiosk-terminal/examples/updater.toml
    fi
    documents kiosk-terminal kiosk-app kiosk technician.md administrator.md
    finish kiosk-terminal
}

admin() {
    stage=$work/kiosk-admin
    program kiosk-admin
    for file in "$packaging"/monitoring/*.yml "$packaging"/monitoring/*.yaml "$packaging"/monitoring/*.json; do
        put 0644 "$file" "usr/share/doc/kiosk-admin/monitoring/$(basename "$file")"
    done
    put 0644 "$packaging/monitoring/README.md" usr/share/doc/kiosk-admin/monitoring/README.md
    documents kiosk-admin kiosk-admin kiosk-admin operator-keys.md administrator.md
    finish kiosk-admin
}

terminal
admin
