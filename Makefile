# Two commands do everything on a fresh Debian 12 or later with a Rust toolchain:
#   make demo   installs what is missing, builds, runs the main job
#   make test   everything CI runs
# A technician's visit, as pictures: make technician-demo
# An administrator's day with three terminals: make update-demo
# Proofs: make kill-loop N=1000, make power-loss ROUNDS=n, make simulate SEED=n DAYS=30
# Packages: make deb, make package-test, make reproducible
# Others: make bench, make release, make fuzz SECONDS=n, make lab, make golden, make clean-demo

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# A build directory outside the clone, where somebody has made one, makes a second clone start warm.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kiosk-target
ifndef CARGO_TARGET_DIR
ifneq ($(wildcard $(CACHE)/.),)
export CARGO_TARGET_DIR := $(CACHE)
endif
endif
TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO ?= cargo
DEMO_OUT ?= target/demo
TECHNICIAN_OUT ?= target/technician-demo
UPDATE_OUT ?= target/update-demo
SECONDS ?= 60
# Of the proofs: how many kills, how many rounds, where the dice start, how long the month is.
N ?= 1000
ROUNDS ?= 500
SEED ?= 1
DAYS ?= 30

.PHONY: demo technician-demo update-demo test packages toolchain check-format check-lints check-tests check-docs check-rules check-packaging deb reproducible package-test kill-loop power-loss simulate bench bench-peers release fuzz fuzz-these fuzz-keep lab golden clean-demo

demo: packages toolchain
	$(CARGO) build --locked -p kiosk-demo
	@if [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then \
	    "$(TARGET)/debug/kiosk-demo" --out "$(DEMO_OUT)"; \
	else \
	    "$(TARGET)/debug/kiosk-demo" --headless --out "$(DEMO_OUT)"; \
	    echo "No display: the scripted visit is in $(DEMO_OUT) (pictures, prints, result.json)."; \
	fi

# A technician's visit from the unlocking to the verified certificate, and every test in a row: pictures
# of every page, the test slip, result.json. The operator's tool runs as on another machine, in another directory.
technician-demo: packages toolchain
	$(CARGO) build --locked -p kiosk-app -p kiosk-admin --bins
	$(CARGO) build --locked -p kiosk-demo
	"$(TARGET)/debug/kiosk-demo" --headless --journey tests/scenarios/technician.toml --out "$(TECHNICIAN_OUT)"
	"$(TARGET)/debug/kiosk-demo" --headless --journey tests/scenarios/technician-ready.toml --out "$(TECHNICIAN_OUT)/ready"
	@echo "The technician's visit is in $(TECHNICIAN_OUT), the proof of the whole terminal in its ready/ (pictures, prints, result.json)."

# Three machines become terminals, take a good release in waves, and are kept from a broken one that the
# first of them gives back by itself. What the operator typed and saw is in operator.log.
update-demo: packages toolchain
	$(CARGO) build --locked -p kiosk-app -p kiosk-admin -p kiosk-update --bins
	$(CARGO) build --locked -p kiosk-demo
	@mkdir -p "$(UPDATE_OUT)/programs"
	@for program in kiosk kiosk-admin kiosk-updater kiosk-demo; do \
	    strip -o "$(UPDATE_OUT)/programs/$$program" "$(TARGET)/debug/$$program"; \
	done
	"$(UPDATE_OUT)/programs/kiosk-demo" update --out "$(UPDATE_OUT)"

test: packages toolchain check-format check-lints check-tests check-docs check-rules check-packaging

packages:
	@packaging/install-packages.sh

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "A Rust toolchain (1.92 or later) is missing; install it with rustup, see README.md." >&2; exit 1; }

check-format:
	$(CARGO) fmt --all --check

check-lints:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# The terminal is built without the demo, which alone asks for the probe; a test reads the program
# that results. The others stand beside it so that all selections share their dependencies.
check-tests:
	$(CARGO) build --locked -p kiosk-app -p kiosk-admin -p kiosk-update -p central-platform -p kiosk-emulators --bins
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run --locked --workspace --no-fail-fast; \
	else \
	    $(CARGO) test --locked --workspace --no-fail-fast; \
	fi

check-docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

# Units keep their sandbox, the bill of materials names every dependency, alarms name metrics that exist.
check-packaging:
	packaging/check-units.sh
	packaging/sbom/test.sh
	packaging/monitoring/check.sh

# Licences and sources of every dependency; works without a network.
check-rules:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    $(CARGO) deny --offline check licenses bans sources; \
	else \
	    echo "cargo-deny is not installed: its checks of licences and sources run as tests (tests/rules.rs)."; \
	fi

# What a power cut, a kill and a month of misery leave behind, against an oracle outside the process;
# a short run of each is in `make test`.
kill-loop: packages toolchain
	$(CARGO) run --locked -p kiosk-durability --bin kill-loop -- --kills $(N) --seed $(SEED)

power-loss: packages toolchain
	$(CARGO) run --locked -p kiosk-durability --bin power-loss -- --rounds $(ROUNDS) --seed $(SEED)

simulate: packages toolchain
	$(CARGO) run --locked -p kiosk-simulation -- --seed $(SEED) --days $(DAYS)

# What is measured, on an idle machine: the queue beside its peers and the disk's own limit, a card
# read against its wire, codes in distorted pictures.
bench: packages toolchain bench-peers
	$(CARGO) test --locked -p kiosk-id-card --test transports -- --ignored
	$(CARGO) run --locked --release -p kiosk-qr-scanner --example measure 60
	$(CARGO) build --locked --release -p kiosk-app --bins
	$(CARGO) test --locked --release -p kiosk-demo --test watchdog -- --ignored --nocapture

bench-peers: packages toolchain
	CARGO="$(CARGO)" tests/bench/run.sh

# The Debian packages of a release, each with its bill of materials, in target/deb.
deb: packages toolchain
	CARGO="$(CARGO)" packaging/deb/compile.sh --target "$(TARGET)"
	packaging/deb/build.sh --binaries "$(TARGET)/release" --out target/deb

# Whether the same commit makes the same packages wherever it is compiled; two release builds.
reproducible: packages toolchain
	CARGO="$(CARGO)" packaging/deb/twice.sh --target "$(TARGET)"

# Install, start, upgrade, downgrade, remove and purge in a clean Debian under its own service manager.
# Needs root and, for the clean Debian, a mirror; the programs are the development build's.
package-test: packages toolchain
	$(CARGO) build --locked -p kiosk-app -p kiosk-admin -p kiosk-update --bins
	$(CARGO) build --locked -p kiosk-demo
	packaging/deb/test.sh --binaries "$(TARGET)/debug" --demo "$(TARGET)/debug/kiosk-demo" --cache target/package-test

release:
	$(CARGO) build --locked --release -p kiosk-app --bin kiosk

# The real fuzzer on every parser of outside bytes, SECONDS each, two at a time, beginning with what
# earlier runs found worth keeping (tests/fuzz/corpus.tar.gz, unpacked into corpus/, which grows);
# `make fuzz-keep` packs the smallest set again. Findings land in tests/fuzz/artifacts. FUZZ="name name" takes some of them only.
# Parsers of devices build alone; those of the terminal's own files build the whole terminal.
FUZZ_DEVICES := $(shell sed -n 's/^ *name: "\(.*\)",$$/\1/p' tests/src/fuzz/devices.rs tests/src/fuzz/sealing.rs)
FUZZ_APP := $(shell sed -n 's/^ *name: "\(.*\)",$$/\1/p' tests/src/fuzz/app.rs tests/src/fuzz/update.rs tests/src/fuzz/items.rs)
FUZZ ?= $(FUZZ_DEVICES) $(FUZZ_APP)
FUZZ_JOBS ?= 2
FUZZER = env -u CARGO_TARGET_DIR RUSTC_BOOTSTRAP=1 $(CARGO) fuzz
fuzz: packages toolchain
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@$(MAKE) --no-print-directory fuzz-these THESE="$(filter $(FUZZ_DEVICES),$(FUZZ))" FEATURES=
	@$(MAKE) --no-print-directory fuzz-these THESE="$(filter $(FUZZ_APP),$(FUZZ))" FEATURES="--features app"

fuzz-these:
	@[ -n "$(THESE)" ] || exit 0; cd tests/fuzz && \
	$(FUZZER) build --fuzz-dir . --sanitizer none $(FEATURES) parsers && \
	{ [ -d corpus ] || { mkdir corpus && tar -xzf corpus.tar.gz -C corpus; }; } && \
	mkdir -p $(addprefix corpus/,$(THESE)) artifacts && \
	printf '%s\n' $(THESE) | xargs -P $(FUZZ_JOBS) -I @@ sh -c \
	    'KIOSK_TARGET=@@ KIOSK_SEEDS=corpus/@@ $(FUZZER) run --fuzz-dir . --sanitizer none $(FEATURES) parsers corpus/@@ -- \
	        -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=16384 -artifact_prefix=artifacts/@@- \
	        -print_final_stats=1 >artifacts/@@.log 2>&1 \
	        && echo "@@: nothing found" || { echo "@@: FOUND SOMETHING, see tests/fuzz/artifacts/@@.log"; exit 1; }'

fuzz-keep:
	@cd tests/fuzz && rm -rf kept && for target in $$(ls corpus); do \
	    mkdir -p "kept/$$target"; \
	    KIOSK_TARGET=$$target target/*/release/parsers -merge=1 "kept/$$target" "corpus/$$target" 2>/dev/null || true; \
	done && tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - -C kept . | gzip -9n >corpus.tar.gz && rm -rf kept

# Real kernel devices in a virtual machine: USB, HID, printer class, cameras, hot-plug; minutes.
lab: packages toolchain
	CARGO="$(CARGO)" tests/hardware-lab/run.sh

golden:
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p kiosk-ui --features probe --test golden --test landscape
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p kiosk-documents --test golden

clean-demo:
	rm -rf "$(DEMO_OUT)"
