# The one front door. `make help` lists what is behind it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PYTHON := .venv/bin/python
CARGO ?= cargo
# Where cargo-nextest is installed it runs the tests side by side; plain cargo runs the same ones.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: demo
demo: ## a sample site, the proxy, crawlers, a statement: see it work (Ctrl-C ends it)
	@$(CARGO) run --release -p byline-proxy --bin byline -- demo

.PHONY: deps
deps: ## install what tests need and this machine lacks (apt, a Python environment in .venv)
	@bash e2e/deps.sh

.PHONY: test
test: deps ## everything that CI runs
	@$(MAKE) check
	@$(MAKE) test-rust
	@# From the same seed each time: a change should not fail for what another run would have found.
	@FUZZ_SEED=1 $(MAKE) fuzz FUZZ_SECONDS=10
	@$(MAKE) acceptance-smoke
	@$(MAKE) bench-guard

.PHONY: check
check: ## formatting, lints, documentation, shell scripts, YAML, alert rules, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@# Doc comments are also the command line's help, where a URL in angle brackets would look odd.
	RUSTDOCFLAGS="-D warnings -A rustdoc::bare-urls" $(CARGO) doc --workspace --no-deps --locked --quiet
	@bash e2e/check.sh

.PHONY: test-rust
test-rust: ## unit tests and end-to-end tests
	$(CARGO) build -p byline-proxy --bin byline --locked
ifeq ($(NEXTEST),yes)
	BYLINE_BIN=$(TARGET)/debug/byline $(CARGO) nextest run --workspace --locked --no-fail-fast --status-level slow --final-status-level fail
else
	BYLINE_BIN=$(TARGET)/debug/byline $(CARGO) test --workspace --locked --no-fail-fast --quiet --lib --bins --tests
endif

.PHONY: fuzz
fuzz: FUZZ_SECONDS ?= 600
fuzz: deps ## each fuzz target for ten minutes (FUZZ_SECONDS=…, FUZZ="headers policy" for these alone)
	@bash fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ)

.PHONY: release
release: ## the binary, optimised
	$(CARGO) build --release -p byline-proxy --bin byline --locked

.PHONY: dist
dist: ## the same, built twice: the second time for what a training run counted; a tenth faster, as it should be shipped
	@bash e2e/deps.sh bench
	@deploy/dist.sh $(TARGET)

.PHONY: acceptance-smoke
acceptance-smoke: deps release ## real nginx, Scrapy, wget, curl, Chromium and Prometheus, small
	@$(PYTHON) e2e/acceptance/run.py --binary $(TARGET)/release/byline --small

.PHONY: acceptance
acceptance: deps release ## the same on whole sites and five million log lines
	@$(PYTHON) e2e/acceptance/run.py --binary $(TARGET)/release/byline

.PHONY: bench
bench: BINARY ?= $(TARGET)/release/byline
bench: release ## CPU, latency and memory next to nginx, HAProxy and Pingora (BENCH=--help: options; BINARY: another build)
	@bash e2e/deps.sh bench
	@$(CARGO) build --release -p byline-ledger --example sustained_appends --locked
	@$(CARGO) build --release -p byline-billing --example million_entries --locked
	@$(CARGO) build --release -p byline-policy --example signed_requests --locked
	@$(if $(findstring --quick,$(BENCH)),,nice -n 19 $(CARGO) build --release --manifest-path bench/pingora/Cargo.toml \
		--target-dir $(TARGET)/pingora --locked || echo "Pingora does not build here: left out")
	@python3 bench/run.py --binary $(BINARY) --pingora $(TARGET)/pingora/release/bench-pingora \
		--appends $(TARGET)/release/examples/sustained_appends \
		--million $(TARGET)/release/examples/million_entries \
		--signed $(TARGET)/release/examples/signed_requests $(BENCH)

.PHONY: bench-guard
bench-guard: deps release ## system calls and instructions per request, against bench/budgets.toml
	@python3 bench/guard.py --binary $(TARGET)/release/byline $(GUARD)

.PHONY: soak
soak: release ## half an hour of ever new clients: what grows? (SOAK=--help: options)
	@bash e2e/deps.sh bench
	@python3 bench/soak.py --binary $(TARGET)/release/byline $(SOAK)
