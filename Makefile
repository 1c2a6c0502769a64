# One word each; `make help` lists them. diagnose and test set up a fresh Debian 12 by themselves (as root).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_PACKAGES := clang libbpf-dev libelf-dev zlib1g-dev gcc python3-dev python3-venv
TEST_PACKAGES := $(BUILD_PACKAGES) iproute2 util-linux libcap2-bin procps containerd runc containernetworking-plugins \
	nftables iptables busybox-static nginx-light haproxy openssl clang-format systemd \
	$(if $(shell command -v node),,nodejs)
ENTER_BED := unshare --net --mount --propagation private sh -c \
	'mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && exec "$$@"' sh

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

diagnose: $(VENV)/built ## set up what is missing and diagnose this very machine
	@$(BIN)/whodunnet diagnose; status=$$?; [ $$status -ne 1 ] || status=0; exit $$status

test: $(VENV)/tested ## set up what is missing and pass every test
	$(BIN)/pytest tests/unit tests/docs
	$(if $(filter 0,$(shell id -u)),$(ENTER_BED) ,)$(BIN)/pytest tests/netns tests/containers

test-kernels: $(VENV)/tested ## the same programs on other kernels, in virtual machines
	$(BIN)/pytest tests/kernels

lint: $(VENV)/tested ## style, types, layers, formatted C
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict -p lab -p bench -p tests.docs -p tests.kernels
	$(BIN)/lint-imports
	clang-format --dry-run --Werror bpf/*.c bpf/*.h bpf/include/*.h tools/*.c

bench: $(VENV)/tested ## measure against what a user would run instead (root)
	$(BIN)/python -m bench

build: $(VENV)/built ## only build and install into .venv

# Packages are installed only where one is missing, so that a set-up machine needs no network here.
define install_packages
	@missing=$$(for p in $(1); do dpkg -s $$p 2>/dev/null | grep -q '^Status:.* installed$$' || echo $$p; done); \
	if [ -n "$$missing" ] && [ $$(id -u) -eq 0 ]; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $$missing >/dev/null; \
	elif [ -n "$$missing" ]; then \
		echo "These packages are missing, and only root can install them: $$missing" >&2; \
	fi
endef

SOURCES := $(wildcard bpf/*.c bpf/*.h bpf/include/*.h bpf/Makefile tools/* docs/rules/*.md) pyproject.toml setup.py

$(VENV)/built: $(SOURCES)
	$(call install_packages,$(BUILD_PACKAGES))
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tested: $(VENV)/built requirements-dev.lock
	$(call install_packages,$(TEST_PACKAGES))
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	@touch $@

clean: ## remove what was built
	rm -rf $(VENV) build dist src/*.egg-info src/whodunnet/kernel/bpf/objects src/whodunnet/kernel/bpf/_libbpf.*.so \
		src/whodunnet/pages

.PHONY: help diagnose test test-kernels lint bench build clean
