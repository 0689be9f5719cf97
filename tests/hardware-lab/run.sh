#!/bin/bash
# The hardware lab: builds the guest, boots it in software emulation, judges its console.
#
#   tests/hardware-lab/run.sh [--smoke] [--only NAME]... [--target DIR] [--limit SECONDS] [--fetch-only]
#
# Below DIR/lab (DIR is CARGO_TARGET_DIR or target) it keeps what it downloads and builds; a second
# run only builds what has changed and needs no network. Nothing is installed and no rights are
# needed: tools that this machine lacks are unpacked from Debian's packages into that directory.
# Status: 0 every case passed, 1 a case failed or the guest did not end, 2 the lab cannot run here.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cargo=${CARGO:-cargo}
# Whole run of the guest. Chosen: six times what a machine with two busy cores needs.
limit=900
arguments=
fetch_only=

cannot() {
    echo "hardware lab: $*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --smoke) arguments="$arguments --smoke"; [ "$limit" != 900 ] || limit=300 ;;
    --only) arguments="$arguments --only ${2:?a name is missing}"; shift ;;
    --target) target=${2:?a directory is missing}; shift ;;
    --limit) limit=${2:?a number of seconds is missing}; shift ;;
    --fetch-only) fetch_only=yes ;;
    *) cannot "unknown argument $1; see the head of $0" ;;
    esac
    shift
done
case $target in /*) ;; *) target=$PWD/$target ;; esac
lab=$target/lab
tools=$lab/tools
kernel=$lab/kernel
mkdir -p "$lab/packages" "$tools"
exec 9>"$lab/lock"
flock -n 9 || cannot "another run uses $lab"

# Programs and libraries from unpacked packages come first; the machine's own fill the gaps.
libraries=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu:$tools/usr/lib/systemd

[ "$(uname -m)" = x86_64 ] || cannot "the guest is an x86-64 machine; this host is $(uname -m)"

# Downloads packages, with what they need that is not installed here, and unpacks them to $tools.
# Not installed: Debian 12's QEMU conflicts with a newer qemu-utils where there is one.
unpack() {
    local missing package
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        cannot "packages $* are needed, and this is no Debian: install them in your system's way"
    missing=$(apt-get -s install --no-install-recommends "$@" 2>/dev/null |
        awk '$1 == "Inst" && $2 != "ipxe-qemu" { print $2 }' | sort -u)
    for package in $(printf '%s\n' "$@" $missing | sort -u); do
        fetch "$package" "$tools"
    done
}

fetch() {
    local into=$2 scratch
    scratch=$(mktemp -d "$lab/packages/XXXXXX")
    (cd "$scratch" && apt-get -q -o APT::Sandbox::User=root download "$1" >/dev/null) || {
        rm -rf "$scratch"
        cannot "package $1 cannot be downloaded; run 'apt-get update' as root and try again"
    }
    mkdir -p "$into"
    dpkg-deb -x "$scratch"/*.deb "$into"
    rm -rf "$scratch"
}

# --- machine: emulator, busybox, module tools, udev, mixer, camera control -------------------------
if [ ! -e "$tools/complete-1" ]; then
    echo "hardware lab: fetching QEMU and the guest's programs (once)"
    unpack qemu-system-x86 qemu-system-data seabios busybox-static kmod udev alsa-utils v4l-utils
    touch "$tools/complete-1"
fi
qemu=$tools/usr/bin/qemu-system-x86_64
busybox=$tools/bin/busybox
[ -x "$busybox" ] || busybox=$tools/usr/bin/busybox
kmod=$tools/bin/kmod
[ -x "$kmod" ] || kmod=$tools/usr/bin/kmod
LD_LIBRARY_PATH=$libraries "$qemu" --version >"$lab/qemu-version" 2>&1 ||
    cannot "QEMU does not start: $(cat "$lab/qemu-version")"

# --- kernel: Debian's, for its modules --------------------------------------------------------------
if [ ! -e "$kernel/complete-1" ]; then
    package=$(apt-cache depends linux-image-amd64 2>/dev/null |
        awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
    [ -n "$package" ] || cannot "no Debian kernel package is known; run 'apt-get update' as root"
    echo "hardware lab: fetching $package (once)"
    fetch "$package" "$kernel"
    touch "$kernel/complete-1"
fi
version=$(basename "$kernel"/boot/vmlinuz-*)
version=${version#vmlinuz-}
modules=$kernel/lib/modules/$version
[ -d "$modules" ] || modules=$kernel/usr/lib/modules/$version
[ -e "$modules/modules.dep" ] || {
    # kmod acts by the name it is called by; its base directory must hold lib/modules.
    [ -d "$kernel/lib/modules" ] || ln -sfn usr/lib "$kernel/lib"
    (exec -a depmod "$kmod" -b "$kernel" "$version")
}

# --- small initramfs: busybox and the modules, in the order in which they must be loaded -----------
initramfs=$lab/initramfs.gz
if [ ! -e "$initramfs" ] || [ "$here/guest/init" -nt "$initramfs" ] ||
    [ "$here/guest/modules" -nt "$initramfs" ] || [ "$here/run.sh" -nt "$initramfs" ]; then
    stage=$lab/initramfs
    rm -rf "$stage"
    mkdir -p "$stage/bin" "$stage/modules"
    cp "$busybox" "$stage/bin/busybox"
    cp "$here/guest/init" "$stage/init"
    chmod 755 "$stage/init"
    ln -s busybox "$stage/bin/sh"
    { grep -v '^#' "$here/guest/modules" || true; } | while read -r name options; do
        (exec -a modprobe "$kmod" -d "$kernel" -S "$version" --show-depends "$name") |
            while read -r what path _; do
                [ "$what" = insmod ] || continue
                file=$(basename "$path")
                file=${file%.ko*}.ko
                # A module's file and its name may differ in hyphens.
                if [ "${file//-/_}" = "${name//-/_}.ko" ]; then
                    echo "$file $options"
                else
                    echo "$file"
                fi
                case $path in
                *.ko) cp "$path" "$stage/modules/$file" ;;
                *.ko.xz) xz -dc "$path" >"$stage/modules/$file" ;;
                *.ko.zst) zstd -dcq "$path" >"$stage/modules/$file" ;;
                esac
            done
    done | awk '!seen[$1]++' >"$stage/modules/order"
    # The kernel reads this before anything else; every megabyte costs seconds in emulation.
    (cd "$stage" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$initramfs.new"
    mv "$initramfs.new" "$initramfs"
fi
[ -z "$fetch_only" ] || exit 0

# --- the cases: one program, the libraries it and its tools load, as an archive on a disk ----------
"$cargo" build --locked --manifest-path "$root/Cargo.toml" -p kiosk-hardware-lab --bin lab-guest
# The terminal itself, for its guided tests. The packages are those of `make test`, so that nothing is
# compiled twice; the shortest part of the lab does without.
case $arguments in
*--smoke*) terminal= ;;
*)
    terminal=${CARGO_TARGET_DIR:-$root/target}/debug/kiosk
    "$cargo" build --locked --manifest-path "$root/Cargo.toml" -p kiosk-app -p kiosk-admin \
        -p kiosk-update -p central-platform -p kiosk-emulators --bins
    ;;
esac
stage=$lab/disk
rm -rf "$stage"
mkdir -p "$stage/lab" "$stage/etc/udev/rules.d" "$stage/etc/alsa" "$stage/usr/share" "$stage/lib"
strip -s -o "$stage/lab/lab-guest" "${CARGO_TARGET_DIR:-$root/target}/debug/lab-guest"
echo "$arguments" >"$stage/lab/arguments"
copy_program() {
    local from=$1 to=$2 library
    mkdir -p "$(dirname "$stage$to")"
    cp "$from" "$stage$to"
    LD_LIBRARY_PATH=$libraries ldd "$from" | awk '$2 == "=>" { print $1, $3 } $1 ~ /ld-linux/ { print $1, $1 }' |
        while read -r name library; do
            case $name in
            /*) mkdir -p "$stage$(dirname "$name")"; cp -L "$library" "$stage$name" ;;
            *) mkdir -p "$stage/usr/lib/x86_64-linux-gnu"; cp -L "$library" "$stage/usr/lib/x86_64-linux-gnu/$name" ;;
            esac
        done
}
[ -z "$terminal" ] || {
    copy_program "$terminal" /lab/kiosk
    strip -s "$stage/lab/kiosk"
}
copy_program "$stage/lab/lab-guest" /lab/lab-guest.libraries
rm "$stage/lab/lab-guest.libraries"
copy_program "$(ls "$tools/bin/udevadm" "$tools/usr/bin/udevadm" 2>/dev/null | head -n 1)" /bin/udevadm
# udev is the daemon when it is called so.
cp "$stage/bin/udevadm" "$stage/bin/systemd-udevd"
copy_program "$tools/usr/bin/amixer" /usr/bin/amixer
copy_program "$tools/usr/bin/v4l2-ctl" /usr/bin/v4l2-ctl
for place in "$tools/lib/udev" "$tools/usr/lib/udev"; do
    [ -d "$place" ] || continue
    mkdir -p "$stage/lib/udev/rules.d"
    for file in 50-udev-default 60-evdev 60-input-id 60-persistent-input 60-persistent-v4l 60-serial; do
        cp "$place/rules.d/$file.rules" "$stage/lib/udev/rules.d/" 2>/dev/null || true
    done
    copy_program "$place/v4l_id" /lib/udev/v4l_id
done
alsa=$tools/usr/share/alsa
[ -d "$alsa/cards" ] || alsa=/usr/share/alsa
cp -r "$alsa" "$stage/usr/share/alsa"
rm -rf "$stage/usr/share/alsa/ucm2" "$stage/usr/share/alsa/topology" "$stage/usr/share/alsa/speaker-test"
(cd "$stage" && tar -cf "$lab/disk.tar.new" .)
# A disk is whole sectors.
truncate -s %1M "$lab/disk.tar.new"
mv "$lab/disk.tar.new" "$lab/disk.tar"

# --- boot ------------------------------------------------------------------------------------------
console=$lab/console.log
started=$(date +%s)
echo "hardware lab: booting $(head -n 1 "$lab/qemu-version" | cut -d'(' -f1)with $version, $limit s at most"
status=0
# Software emulation even where /dev/kvm exists: it is the same everywhere. No option ROMs, no
# network, no picture: each costs seconds.
LD_LIBRARY_PATH=$libraries timeout --kill-after=10 "$limit" "$qemu" \
    -L "$tools/usr/share/qemu" -L "$tools/usr/share/seabios" \
    -machine pc,usb=off -accel tcg,thread=multi -cpu max -smp 2 -m 768 \
    -nodefaults -no-user-config -nographic -vga none -nic none -no-reboot -serial stdio \
    -drive "file=$lab/disk.tar,format=raw,if=virtio,readonly=on" \
    -kernel "$kernel/boot/vmlinuz-$version" -initrd "$initramfs" \
    -append "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off random.trust_cpu=on tsc=unstable" \
    </dev/null 2>&1 9>&- |
    # The firmware moves the cursor about; the log is plain text.
    sed -u -e 's/\x1b\[[?0-9;]*[A-Za-z]//g' -e 's/\x1bc//g' -e 's/\r//g' |
    tee "$console" || status=$?
echo "hardware lab: $(($(date +%s) - started)) s, console in $console"
if grep -aq '^lab: all [0-9]* cases passed$' "$console"; then
    exit 0
fi
[ "$status" -ne 124 ] || echo "hardware lab: the guest did not end within $limit s" >&2
grep -a -e '^FAIL ' -e '^Error: ' "$console" >&2 ||
    echo "hardware lab: the guest ended without a verdict" >&2
exit 1
