#!/bin/bash
# Installs, starts, upgrades, rolls back, removes and purges the packages in a clean Debian, and looks after
# each step whether everything is as promised.
#
#   test.sh --binaries DIR [--demo FILE] [--release bookworm] [--cache DIR]
#
# The clean Debian is a debootstrap root in which the real service manager runs as process 1, in namespaces
# of its own; /proc/sys and /sys are read-only in it, so that nothing of this machine is changed. Its display
# paints into memory. No device of this machine is spoken to: what may be opened is tried with nodes of the
# same classes (a console for the serial lines).
# The network is used for Debian's mirror only (KIOSK_MIRROR), and only for what the cache does not hold.
# With --demo (kiosk-demo), a case that waits is made by a real visit, and must survive a purge.
# Needs root. Exit status 0: everything held; 1: the first thing that did not is named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
binaries='' demo='' release=bookworm cache=$repository/target/package-test
while [ $# -gt 0 ]; do
    case "$1" in
    --binaries) binaries=$(cd "$2" && pwd) ;;
    --demo) demo=$(realpath "$2") ;;
    --release) release=$2 ;;
    --cache) mkdir -p "$2" && cache=$(cd "$2" && pwd) ;;
    *)
        echo "test.sh: unknown word $1" >&2
        exit 2
        ;;
    esac
    shift 2
done
: "${binaries:?--binaries is missing}"
[ "$(id -u)" -eq 0 ] || {
    echo "test.sh: a root file system and namespaces need root" >&2
    exit 2
}
# The mirror that this machine takes its own packages from.
known=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Codename: $release" | sed -n 1p)
mirror=${KIOSK_MIRROR:-$known}
[ -n "$mirror" ] || {
    echo "test.sh: this machine knows no mirror of $release; set KIOSK_MIRROR" >&2
    exit 2
}
mkdir -p "$cache/archives"
work=$(mktemp -d -p /var/tmp)
root=$work/root
cgroup=''
manager=''
# Longest wait for anything here, in seconds; machines do other things too.
patience=120

finish() {
    local status=$?
    [ -z "$manager" ] || kill -KILL "$manager" 2>/dev/null || true
    [ -z "$manager" ] || wait "$manager" 2>/dev/null || true
    # Its last processes are on their way out.
    local tries=0
    while [ -n "$cgroup" ] && [ -d "$cgroup" ] && [ "$tries" -lt 50 ]; do
        find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
        tries=$((tries + 1))
    done
    if [ "$status" -ne 0 ] && [ -e "$work/console" ]; then
        echo "--- the last words of the service manager and the services:" >&2
        tail -40 "$work/console" >&2
        find "$root/var/log/journal" "$root/run" -name '*.journal' 2>/dev/null | head -1 | grep -q . &&
            journalctl --no-pager -q -n 60 -D "$root/var/log/journal" >&2
    fi
    rm -rf --one-file-system "$work"
}
trap finish EXIT

step() { printf '\n== %s\n' "$1"; }
held=0
holds() { # WORDS COMMAND...
    local words=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        held=$((held + 1))
        echo "   $words"
    else
        echo "NOT HELD: $words" >&2
        echo "   command: $*" >&2
        sed 's/^/   /' "$work/said" >&2
        exit 1
    fi
}
fails() { ! "$@"; }
equal() { [ "$1" = "$2" ] || { echo "is $1, expected $2"; return 1; }; }

# --- the clean Debian ---------------------------------------------------------------------------------

tarball=$cache/$release-$(dpkg --print-architecture).tar
if [ ! -e "$tarball" ]; then
    step "a clean $release (kept in $cache)"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,libpam-systemd "$release" "$work/base" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
    tar -C "$work/base" --numeric-owner -cf "$tarball.new" .
    mv "$tarball.new" "$tarball"
    rm -rf "$work/base"
fi
mkdir "$root"
tar -C "$root" --numeric-owner -xf "$tarball"
cp /etc/resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/apt/apt.conf.d/docker-*
echo 'Acquire::Check-Valid-Until "false"; Acquire::Retries "3"; APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/90test"
# A machine that has an identity does not ask who it is at its first start.
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
echo kiosk-package-test >"$root/etc/hostname"
# Kept in the root, so that it can be read when something has failed.
mkdir -p "$root/var/log/journal"

# A display that paints into memory: this machine may have no screen at all, and shall not show one here.
mkdir -p "$root/etc/systemd/system/kiosk-display.service.d"
cat >"$root/etc/systemd/system/kiosk-display.service.d/headless.conf" <<'END'
[Unit]
ConditionPathExists=
[Service]
ExecStart=
ExecStart=/usr/bin/weston --config=/etc/kiosk-display/weston.ini --backend=headless-backend.so --width=1080 --height=1920 --modules=systemd-notify.so
PAMName=
TTYPath=
StandardInput=null
UtmpIdentifier=
RuntimeDirectory=kiosk-display-own
RuntimeDirectoryMode=0700
Environment=XDG_RUNTIME_DIR=/run/kiosk-display-own
END

# What runs inside: mounts of its own, then the service manager as process 1.
cat >"$work/inside" <<'END'
#!/bin/bash
set -euo pipefail
root=$1 cache=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $node
    mknod -m 0666 "$root/dev/$1" c "$2" "$3"
done
# A device of the class of serial lines that the group may open, and one that everybody may and that is none
# of the terminal's business.
mknod -m 0660 "$root/dev/line" c 4 9
chown 0:20 "$root/dev/line"
mknod -m 0666 "$root/dev/foreign" c 10 229
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount --bind "$cache/archives" "$root/var/cache/apt/archives"
mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l old
rmdir old
exec env -i container=kiosk-package-test PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
    /lib/systemd/systemd --log-target=console --show-status=no --unit=multi-user.target
END

boot() {
    local hierarchy=/sys/fs/cgroup
    [ -e "$hierarchy/cgroup.procs" ] || hierarchy=/sys/fs/cgroup/unified
    cgroup=$hierarchy/kiosk-package-test-$$
    mkdir "$cgroup"
    # The group first, so that it is the root of what the new namespace sees.
    bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child \
        bash "$@"' boot "$cgroup" "$work/inside" "$root" "$cache" </dev/null >"$work/console" 2>&1 &
    manager=$!
    local waited=0
    until process=$(pgrep -P "$manager" 2>/dev/null) && inside systemctl is-system-running 2>/dev/null | grep -q 'running\|degraded'; do
        waited=$((waited + 1))
        [ "$waited" -lt "$patience" ] && kill -0 "$manager" 2>/dev/null || {
            echo "the service manager does not come up" >&2
            exit 1
        }
        sleep 1
    done
}
inside() {
    nsenter --target "$process" --mount --pid --ipc --uts --cgroup --root --wd \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}
apt() { inside apt-get -q -y -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io "$@"; }

step "the service manager starts in it"
boot
holds "process 1 is systemd" inside sh -c 'tr "\0" " " </proc/1/cmdline | grep -q /lib/systemd/systemd'
holds "the settings of this machine's kernel cannot be changed from there" fails inside sh -c 'echo 1 >/proc/sys/kernel/sysrq'

# --- the packages -------------------------------------------------------------------------------------

step "the packages, in two versions"
old=1.0.0 new=1.0.1
for version in $old $new; do
    "$here/build.sh" --binaries "$binaries" --out "$work/packages" --version "$version" --level 0
done
if command -v lintian >/dev/null; then
    holds "lintian finds nothing" lintian --allow-root --fail-on error,warning "$work"/packages/*_$old-1_*.deb
else
    echo "   (lintian is not installed: not looked at)"
fi
mkdir -p "$root/var/tmp/packages"
cp "$work"/packages/*.deb "$root/var/tmp/packages/"
deb() { echo "/var/tmp/packages/$1_$2-1_$(dpkg --print-architecture).deb"; }
version_of() { inside dpkg-query -W -f '${Version}' "$1"; }
mode() { inside stat -c '%a %U %G' "$1"; }

step "install, with what it needs from Debian"
# A second run has everything in its cache and asks nobody.
if ! apt install "$(deb kiosk-terminal $old)" "$(deb kiosk-admin $old)" >"$work/apt" 2>&1; then
    inside apt-get -q update >/dev/null
    apt install "$(deb kiosk-terminal $old)" "$(deb kiosk-admin $old)" >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }
fi
holds "kiosk-terminal $old is installed" equal "$(version_of kiosk-terminal)" "$old-1"
holds "no dependency is missing" inside dpkg --audit
for program in kiosk kiosk-admin kiosk-updater; do
    holds "$program starts, so no library is missing" inside "$program" --version
    holds "$program has a manual page" inside test -s "/usr/share/man/man1/$program.1.gz"
done
holds "nothing gained a right by its file mode" equal "$(inside sh -c 'dpkg -L kiosk-terminal kiosk-admin | grep . | xargs -d "\n" stat -c "%A %n" | grep -c "^[^d]..[^ ]*[sStT]"' || true)" 0
holds "only root may change the program" equal "$(mode /usr/bin/kiosk)" "755 root root"
holds "only root may change the configuration, only the terminal may read it" equal "$(mode /etc/kiosk/kiosk.toml)" "640 root kiosk"
holds "nobody else looks into its directory" equal "$(mode /etc/kiosk)" "750 root kiosk"
holds "the state is the terminal's alone" equal "$(mode /var/lib/kiosk)" "700 kiosk kiosk"
for user in kiosk kiosk-display; do
    holds "nobody can log in as $user" inside sh -c "getent passwd $user | grep -q ':/usr/sbin/nologin\$'"
    holds "$user has no password" inside sh -c "getent shadow $user | cut -d : -f 2 | grep -q '^[!*]'"
done
for group in dialout lp video input plugdev audio; do
    holds "the terminal's user belongs to $group" inside sh -c "id -nG kiosk | grep -qw $group"
done
for unit in kiosk.service kiosk-display.service kiosk-display.socket kiosk-updater.timer kiosk-updater-stick.path; do
    holds "$unit starts at boot" equal "$(inside systemctl is-enabled $unit)" enabled
done
holds "Ctrl-Alt-Del does nothing" equal "$(inside systemctl is-enabled ctrl-alt-del.target || true)" masked
holds "no login appears on another console" inside sh -c 'systemd-analyze cat-config systemd/logind.conf | grep -qx NAutoVTs=0'
holds "the units say what they mean" inside systemd-analyze verify --man=no kiosk.service kiosk-display.service kiosk-display.socket
for unit in kiosk-updater.service kiosk-updater-stick.service; do
    holds "the exposure of $unit is at most 3.0" inside systemd-analyze security --threshold=30 "$unit"
done
holds "the terminal's exposure is at most 1.5" inside systemd-analyze security --threshold=15 kiosk.service
holds "the item packages are whole" inside kiosk services check /usr/share/kiosk/items
holds "the kernel settings are readable" inside sh -c 'sysctl --help >/dev/null 2>&1; grep -q "^kernel.sysrq = 0" /usr/lib/sysctl.d/60-kiosk.conf'
holds "the bill of materials is there" inside sh -c 'gzip -dc /usr/share/doc/kiosk-terminal/sbom.cdx.json.gz | head -c 20000 | grep -q CycloneDX'
holds "it lists the crates of the updater" inside sh -c 'gzip -dc /usr/share/doc/kiosk-terminal/sbom.cdx.json.gz | grep -q "\"name\": *\"tough\""'

# --- it runs ------------------------------------------------------------------------------------------

step "a configuration, and the terminal starts"
sealing_key=$(inside sh -c 'rm -f /run/sealing; kiosk-admin sealing-key new /run/sealing' | sed -n 1p)
configure() {
    inside sh -c 'cat >/etc/kiosk/kiosk.toml' <<END
[terminal]
id = "T001"
site = "示范村党群服务中心"
help_phone = "12345"
[screen]
width_px = 1080
height_px = 1920
is_fullscreen = true
[platform]
url = "http://127.0.0.1:9"
sealing_key = "$sealing_key"
[paths]
state = "/var/lib/kiosk"
items = "/usr/share/kiosk/items"
[[device]]
id = "slips"
class = "slip-printer"
driver = "escpos"
port = "tcp:127.0.0.1:9"
END
}
configure
started() { inside systemctl start kiosk.service && inside systemctl is-active kiosk.service; }
inside systemctl stop kiosk.service
inside systemctl reset-failed kiosk.service 2>/dev/null || true
holds "the terminal says READY to the service manager" started
holds "the display runs" inside systemctl is-active kiosk-display.service
holds "the first frame was painted" inside sh -c 'for i in $(seq 60); do journalctl -q -u kiosk.service | grep -q "first frame" && exit; sleep 1; done; exit 1'
main() { inside systemctl show -p MainPID --value kiosk.service; }
status() { inside sed -n "s/^$1:[[:space:]]*//p" "/proc/$(main)/status"; }
holds "it is the terminal's user" equal "$(inside stat -c %U "/proc/$(main)")" kiosk
holds "it has no capability" equal "$(status CapBnd)" 0000000000000000
holds "it cannot gain any" equal "$(status NoNewPrivs)" 1
holds "its calls are filtered" equal "$(status Seccomp)" 2
holds "it writes no memory image" inside grep -q '^Max core file size  *0  *0' "/proc/$(main)/limits"
holds "no port is open to the network" fails inside sh -c "ls -l /proc/$(main)/fd | sed -n 's/.*socket:\[\([0-9]*\)\]/\1/p' >/tmp/s; awk '\$4 == \"0A\" { print \$10 }' /proc/net/tcp /proc/net/tcp6 | grep -qxFf /tmp/s"
holds "its key was made, for it alone" equal "$(mode /var/lib/kiosk/device-key.pk8)" "600 kiosk kiosk"
holds "its socket answers a technician" inside runuser -u kiosk -- kiosk key show
holds "and tells how its printer is" inside sh -c 'runuser -u kiosk -- kiosk devices --json | grep -q "\"slips\""'

step "the sandbox of the terminal, tried from inside"
# What its user can open without the sandbox, where this kernel has it: a console, FUSE.
devices=()
! inside runuser -u kiosk -- sh -c ': <>/dev/line' 2>/dev/null || devices+=("can open-line")
! inside runuser -u kiosk -- sh -c ': <>/dev/foreign' 2>/dev/null || devices+=("cannot open-foreign")
[ ${#devices[@]} -eq 2 ] || echo "   (this kernel has not both devices: ${devices[*]:-none} looked at)"
# The unit itself with another program in it.
cat >"$root/usr/local/bin/try-sandbox" <<'END'
#!/bin/sh
# Each line: what may or may not be done, and whether it could.
can() { if sh -c "$2" >/dev/null 2>&1; then echo "can $1"; else echo "cannot $1"; fi; }
can write-state 'echo x >/var/lib/kiosk/try && rm /var/lib/kiosk/try'
can write-stick 'echo x >/media/try && rm /media/try'
can write-configuration 'echo x >>/etc/kiosk/kiosk.toml'
can write-program 'echo x >>/usr/bin/kiosk'
can write-items 'touch /usr/share/kiosk/items/x'
can read-configuration 'cat /etc/kiosk/kiosk.toml'
can read-home 'ls /root'
can open-line ': <>/dev/line'
can open-foreign ': <>/dev/foreign'
can see-others 'test -e /proc/1/status'
can make-namespace 'unshare --user true'
can open-null ': >/dev/null'
END
chmod 0755 "$root/usr/local/bin/try-sandbox"
sed -e '/^ExecSearchPath=/d' -e '/^ExecStopPost=/d' -e '/^WatchdogSec=/d' -e '/^Restart/d' -e 's/^Type=.*/Type=oneshot/' \
    -e 's|^ExecStart=.*|ExecStart=/usr/local/bin/try-sandbox|' -e '/^\[Install\]/,$d' "$repository/packaging/systemd/kiosk.service" \
    >"$root/etc/systemd/system/try-sandbox.service"
mkdir -p "$root/media" && inside chmod 0777 /media
inside systemctl stop kiosk.service
inside systemctl daemon-reload
inside systemctl start try-sandbox.service
tried=$(inside journalctl -q -u try-sandbox.service -o cat)
for words in "can write-state" "can write-stick" "can read-configuration" "can open-null" "cannot write-configuration" \
    "cannot write-program" "cannot write-items" "cannot read-home" "cannot see-others" "cannot make-namespace" "${devices[@]}"; do
    holds "the terminal ${words/-/ }" grep -qx "$words" <<<"$tried"
done
holds "the terminal runs again" started

step "what the updater puts in force"
slot=/var/lib/kiosk-updater/slots
holds "the program of the package runs where there is nothing else" equal "$(inside readlink "/proc/$(main)/exe")" /usr/bin/kiosk
inside sh -c "mkdir -p $slot/a/bin && cp /usr/bin/kiosk $slot/a/bin/ && ln -s a $slot/current"
holds "the terminal starts anew" inside systemctl restart kiosk.service
holds "it is the one in the slot" equal "$(inside readlink "/proc/$(main)/exe")" "$slot/a/bin/kiosk"
holds "it cannot change itself" fails inside nsenter -t "$(main)" -m -- runuser -u kiosk -- sh -c "echo x >>$slot/a/bin/kiosk"
inside rm -rf /var/lib/kiosk-updater
holds "and without a slot the one of the package again" inside systemctl restart kiosk.service
holds "the program of the package runs" equal "$(inside readlink "/proc/$(main)/exe")" /usr/bin/kiosk

step "what hangs or dies is started anew"
before=$(main)
inside sh -c "kill -KILL $before"
holds "a killed terminal is back" inside sh -c "for i in \$(seq 60); do [ \"\$(systemctl show -p MainPID --value kiosk.service)\" != $before ] && [ \"\$(systemctl is-active kiosk.service)\" = active ] && exit; sleep 1; done; exit 1"
holds "it knows how it ended" inside sh -c 'runuser -u kiosk -- kiosk safe-mode | grep -q boot.killed'

# --- versions -----------------------------------------------------------------------------------------

fingerprint() { inside sh -c 'sha256sum /var/lib/kiosk/device-key.pk8 /etc/kiosk/kiosk.toml | cut -c 1-64; stat -c "%i" /var/lib/kiosk/store/kiosk.db' | tr '\n' ' '; }
step "upgrade"
identity=$(fingerprint)
before=$(main)
apt install "$(deb kiosk-terminal $new)" >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }
holds "kiosk-terminal $new is installed" equal "$(version_of kiosk-terminal)" "$new-1"
holds "the new terminal runs" equal "$(inside systemctl is-active kiosk.service)" active
holds "it was started anew" fails equal "$(main)" "$before"
holds "configuration, key and store are the same" equal "$(fingerprint)" "$identity"
holds "the configuration is still private" equal "$(mode /etc/kiosk/kiosk.toml)" "640 root kiosk"
holds "the upgrade counts as no crash" inside sh -c '! runuser -u kiosk -- kiosk safe-mode | tail -n +3 | grep -q ended'

step "back to the version before"
apt --allow-downgrades install "$(deb kiosk-terminal $old)" >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }
holds "kiosk-terminal $old is installed" equal "$(version_of kiosk-terminal)" "$old-1"
holds "the old terminal runs" equal "$(inside systemctl is-active kiosk.service)" active
holds "configuration, key and store are the same" equal "$(fingerprint)" "$identity"

step "maintainer scripts, once more"
holds "configuring twice changes nothing" inside sh -c '/var/lib/dpkg/info/kiosk-terminal.postinst configure 1.0.0-1 && systemctl is-active kiosk.service'
holds "configuration, key and store are the same" equal "$(fingerprint)" "$identity"
inside systemctl disable -q kiosk.service
apt install "$(deb kiosk-terminal $new)" >"$work/apt" 2>&1
holds "a terminal that an operator disabled stays so" equal "$(inside systemctl is-enabled kiosk.service || true)" disabled
inside systemctl enable -q kiosk.service

# --- removal ------------------------------------------------------------------------------------------

step "remove"
apt remove kiosk-terminal >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }
holds "it does not run any more" fails inside systemctl is-active kiosk.service
holds "nor its display" fails inside systemctl is-active kiosk-display.service
holds "the program is gone" inside test ! -e /usr/bin/kiosk
holds "configuration, key and store are the same" equal "$(fingerprint)" "$identity"
holds "it is known that nothing waits" equal "$(inside cat /var/lib/kiosk-carry-out/waiting)" 0

step "install again: everything is as it was"
apt install "$(deb kiosk-terminal $new)" >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }
holds "the terminal runs" started
holds "configuration, key and store are the same" equal "$(fingerprint)" "$identity"

purge() { apt purge kiosk-terminal >"$work/apt" 2>&1 || { tail -40 "$work/apt" >&2; exit 1; }; }
if [ -n "$demo" ]; then
    step "purge while a case waits"
    # A visit on the demo bench without a line; its store becomes this terminal's.
    state=$("$here/waiting-case.sh" --demo "$demo" --kiosk "$binaries/kiosk" --out "$work/case")
    inside systemctl stop kiosk.service
    inside sh -c 'rm -rf /var/lib/kiosk/*'
    cp -r "$state"/. "$root/var/lib/kiosk/"
    rm -f "$root/var/lib/kiosk/devices.sock"
    inside sh -c 'chown -R kiosk:kiosk /var/lib/kiosk && chmod -R go= /var/lib/kiosk'
    holds "a case waits" inside sh -c 'runuser -u kiosk -- kiosk queue list --json | grep -q "\"state\""'
    purge
    holds "the store is still there" inside test -s /var/lib/kiosk/store/kiosk.db
    holds "the key is still there" inside sh -c 'ls /var/lib/kiosk/*.pk8'
    holds "what waits was written to be carried out" inside sh -c 'test -s /var/lib/kiosk-carry-out/*.bundle'
    holds "for nobody else to read" equal "$(mode /var/lib/kiosk-carry-out)" "700 kiosk kiosk"
    holds "the purge says how many and what to do" grep -q '^kiosk-terminal: 1 cases of citizens wait' "$work/apt"
    apt install "$(deb kiosk-terminal $new)" >"$work/apt" 2>&1
    configure
    inside systemctl stop kiosk.service
    holds "installed again, the case waits as before" inside sh -c 'runuser -u kiosk -- kiosk queue list --json | grep -q "\"kind\":\"case\""'
    holds "and can be carried out" inside sh -c 'install -d -o kiosk /media/stick && runuser -u kiosk -- kiosk queue export /media/stick --by tester --json | grep -q "\"transactions\":1"'
    inside sh -c 'rm -rf /var/lib/kiosk/* /var/lib/kiosk-carry-out'
fi

step "purge while nobody can tell what waits"
inside systemctl stop kiosk.service
inside runuser -u kiosk -- sh -c 'mkdir -p /var/lib/kiosk/store && echo not-a-store >/var/lib/kiosk/store/kiosk.db.corrupt-20260101'
purge
holds "the set-aside store is still there" inside test -s /var/lib/kiosk/store/kiosk.db.corrupt-20260101
holds "the purge says so" grep -q '^kiosk-terminal: unknown cases' "$work/apt"
inside rm -rf /var/lib/kiosk /var/lib/kiosk-carry-out

step "purge while nothing waits"
apt install "$(deb kiosk-terminal $new)" >"$work/apt" 2>&1
configure
# It shows that it is not configured until it is started anew.
inside systemctl stop kiosk.service
holds "the terminal runs" started
holds "and has made a store" inside test -s /var/lib/kiosk/store/kiosk.db
purge
for path in /etc/kiosk/kiosk.toml /etc/kiosk-display /etc/pam.d/kiosk-display /var/lib/kiosk /var/lib/kiosk-carry-out /var/lib/kiosk-updater /usr/share/kiosk; do
    holds "$path is gone" inside test ! -e "$path"
done
holds "Ctrl-Alt-Del is the system's again" fails equal "$(inside systemctl is-enabled ctrl-alt-del.target || true)" masked
holds "no unit is left over" fails inside sh -c 'systemctl list-unit-files --no-legend | grep "^kiosk"'
apt purge kiosk-admin >"$work/apt" 2>&1
holds "no file of either package is left" fails inside sh -c 'dpkg-query -W -f "\${db:Status-Status} \${Package}\n" | grep "kiosk"'

printf '\npackage test: %s promises held on %s\n' "$held" "$release"
