# One word each; `make help` lists them. diagnose and test set up a fresh Debian 12 by themselves (as root).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_PACKAGES := clang libbpf-dev libelf-dev zlib1g-dev gcc python3-dev python3-venv
TEST_PACKAGES := $(BUILD_PACKAGES) iproute2 util-linux libcap2-bin procps containerd runc containernetworking-plugins \
	nftables iptables conntrack busybox-static nginx-light haproxy openssl clang-format systemd docker.io podman lxc \
	apache2-bin gunicorn dnsmasq-base unbound curl wrk ethtool systemd-container uidmap slirp4netns bash zsh fish groff mandoc debootstrap \
	$(if $(shell command -v node),,nodejs)
# The interpreter that is bundled: Debian's own, where there is one.
BUNDLE_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) $(PYTHON))
BUNDLE_PACKAGES := $(BUILD_PACKAGES) libfribidi0 libzstd-dev zstd
BUNDLE_TEST_PACKAGES := busybox-static debootstrap iproute2 musl-tools util-linux
SECONDS ?= 600
MINUTES ?= 60
MACHINE_PACKAGES := qemu-system-x86 busybox-static cpio kmod util-linux
ENTER_BED := unshare --net --mount --propagation private sh -c \
	'mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && exec "$$@"' sh

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

diagnose: $(VENV)/built ## set up what is missing and diagnose this very machine
	@$(BIN)/whodunnet diagnose; status=$$?; [ $$status -ne 1 ] || status=0; exit $$status

test: $(VENV)/tested ## set up what is missing and pass every test
	$(BIN)/pytest --numprocesses auto --dist loadfile tests/unit tests/docs
	$(if $(filter 0,$(shell id -u)),$(ENTER_BED) ,)$(BIN)/pytest --durations 25 tests/netns tests/containers tests/chaos

lab: $(VENV)/tested bundle ## every fault and look-alike on every kernel: docs/scoreboard.md (root, hours; BOARD=options)
	$(call install_packages,$(MACHINE_PACKAGES))
	$(BIN)/python -m lab.board $(BOARD)

lab-quick: $(VENV)/tested ## fifteen of them on this kernel, shown and not kept (root, six minutes)
	$(BIN)/python -m lab.board --quick

support: $(VENV)/tested ## which collectors and programs work on which kernel, with which rights: docs/support-matrix.md (root)
	$(call install_packages,$(MACHINE_PACKAGES))
	$(BIN)/python -m lab.support

quiet-hour: $(VENV)/tested ## diagnose in a loop while this machine builds, downloads and serves: docs/quiet-hour.md (root)
	$(BIN)/python -m lab.quiet --minutes $(MINUTES)

test-kernels: $(VENV)/tested bundle ## the same programs on other kernels, in virtual machines
	$(call install_packages,$(MACHINE_PACKAGES))
	$(BIN)/pytest tests/kernels

test-bundle: $(VENV)/tested bundle ## the bundle and the wheel in foreign roots (root)
	$(call install_packages,$(BUNDLE_TEST_PACKAGES))
	$(BIN)/pytest tests/bundle

fuzz: $(VENV)/tested ## every decoder of kernel or file input under a coverage-guided fuzzer, SECONDS=600 in all
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement fuzz/requirements.lock
	$(BIN)/python -m fuzz --seconds $(SECONDS)

lint: $(VENV)/tested ## style, types, layers, formatted C
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict -p lab -p bench -p fuzz -p tests.docs -p tests.kernels -p tests.bundle -p tests.chaos
	$(BIN)/lint-imports
	clang-format --dry-run --Werror bpf/*.c bpf/*.h bpf/include/*.h tools/*.c tools/*.h

bench: $(VENV)/tested ## measure against what a user would run instead (root)
	$(BIN)/python -m bench

bundle: $(VENV)/bundler build/whodunnet.1 ## dist/: one file that runs anywhere, the wheel, their sums and bill of materials
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 315532800)} \
		$(VENV)/bundle/bin/python tools/bundle.py

wheel: $(VENV)/bundler build/whodunnet.1 ## dist/: a wheel that needs no compiler and no libbpf
	@$(VENV)/bundle/bin/python tools/bundle.py --wheel

build: $(VENV)/built ## only build and install into .venv

docs: $(VENV)/built ## docs/rules/README.md, and the pages that `whodunnet explain` shows
	$(BIN)/python tools/rule_index.py
	@cp $(filter-out docs/rules/README.md,$(wildcard docs/rules/*.md)) src/whodunnet/pages/ && touch $<

# Packages are installed only where one is missing, so that a set-up machine needs no network here. No service of theirs
# is started (policy-rc.d, see invoke-rc.d(8)): dockerd and nginx would change the machine for good.
define install_packages
	@missing=$$(for p in $(1); do dpkg -s $$p 2>/dev/null | grep -q '^Status:.* installed$$' || echo $$p; done); \
	if [ -n "$$missing" ] && [ $$(id -u) -eq 0 ]; then \
		policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { made=$$policy; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; }; \
		trap 'rm -f $$made' EXIT; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $$missing >/dev/null; \
	elif [ -n "$$missing" ]; then \
		echo "These packages are missing, and only root can install them: $$missing" >&2; \
	fi
endef

SOURCES := $(wildcard bpf/*.c bpf/*.h bpf/include/*.h bpf/Makefile tools/* docs/rules/*.md) pyproject.toml setup.py

$(VENV)/built: $(SOURCES)
	$(call install_packages,$(BUILD_PACKAGES))
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(MAKE) --silent -C bpf # an editable installation only warns if what it builds fails
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tested: $(VENV)/built requirements-dev.lock
	$(call install_packages,$(TEST_PACKAGES))
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	@touch $@

$(VENV)/bundler: pyproject.toml
	$(call install_packages,$(BUNDLE_PACKAGES))
	@test -x $(VENV)/bundle/bin/pip || $(BUNDLE_PYTHON) -m venv $(VENV)/bundle
	@$(VENV)/bundle/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(VENV)/bundle/bin/pip install --quiet --disable-pip-version-check --group bundle
	@touch $@

# Made by the command line itself, so it cannot be made while the package is built.
build/whodunnet.1: $(VENV)/built tools/manual.py $(wildcard src/whodunnet/cli/*.py)
	@mkdir -p build && $(BIN)/python tools/manual.py > $@.new && mv $@.new $@

clean: ## remove what was built
	rm -rf $(VENV) build dist src/*.egg-info src/whodunnet/kernel/bpf/objects src/whodunnet/kernel/bpf/_libbpf.*.so \
		src/whodunnet/kernel/netlink/_conntrack.*.so \
		src/whodunnet/pages

.PHONY: help diagnose test lab lab-quick support quiet-hour test-kernels test-bundle lint fuzz bench bundle wheel build docs clean
