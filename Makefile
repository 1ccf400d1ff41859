SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
BIN := $(CURDIR)/.bin

# The tools, by the version that everybody uses.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

PYTHON ?= python3
PYTHON_DIR := integration/python
PYTHON_BIN := $(BIN)/python/bin

PKG ?= ./...
BENCH ?= .
COUNT ?= 10
BASE ?=
FUZZTIME ?= 10s
RACE_TIMEOUT ?= 30m
# The packages that mutants makes changes in, with the least part in percent that tests must find.
MUTANTS ?= ./routing ./routing/presence ./stream/wire ./stream/internal/assignment ./stream/internal/wait ./internal/fault ./internal/plural
MUTANTS_LEAST ?= 96
FAULT_SEED ?= 1
FAULT_DURATION ?= 10m
FAULT_TIMEOUT ?= 60m

# installed names the file that says a tool is there in the version it has here.
installed = $(BIN)/.$(subst /,_,$(1))

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: tools
tools: $(foreach tool,$(GOLANGCI_LINT) $(BENCHSTAT) $(GOVULNCHECK),$(call installed,$(tool))) ## Install the pinned tools into .bin

define install
$$(call installed,$(1)):
	GOBIN=$(BIN) $(GO) install $(1)
	@touch $$@
endef
$(foreach tool,$(GOLANGCI_LINT) $(BENCHSTAT) $(GOVULNCHECK),$(eval $(call install,$(tool))))

.PHONY: fmt
fmt: $(call installed,$(GOLANGCI_LINT)) ## Format the code (gofumpt, goimports)
	$(BIN)/golangci-lint fmt $(PKG)

.PHONY: fmt-check
fmt-check: $(call installed,$(GOLANGCI_LINT)) ## Show what fmt would change; fail if anything
	$(BIN)/golangci-lint fmt --diff $(PKG)

.PHONY: lint
lint: $(call installed,$(GOLANGCI_LINT)) ## Run the linters, the import table among them
	$(BIN)/golangci-lint run $(PKG)

.PHONY: test
test: ## Run the tests
	$(GO) test $(PKG)

.PHONY: race
race: ## Run the tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout $(RACE_TIMEOUT) $(PKG)

.PHONY: fuzz
fuzz: ## Run every fuzz function for FUZZTIME (10s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' $(sort $(dir $(wildcard */.))) | sort | while IFS=: read -r file function; do \
		name="$${function#func }"; dir="$$(dirname "$$file")"; \
		echo "== $$name in $$dir for $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$dir" </dev/null; \
	done

.PHONY: faults
faults: ## Run the fault tests with FAULT_SEED (1) for FAULT_DURATION (10m)
	@list=$$($(GO) test -list '^TestFault' ./integration) || { echo "$$list" >&2; exit 1; }; \
	echo "$$list" | grep -q '^TestFault' || { echo "integration has no TestFault" >&2; exit 1; }
	FAULT_SEED=$(FAULT_SEED) FAULT_DURATION=$(FAULT_DURATION) $(GO) test ./integration -run '^TestFault' -count 1 -timeout $(FAULT_TIMEOUT) -v

.PHONY: planted
planted: ## Plant mistakes in the worker, one after the other: the fault tests must find each
	FAULT_SEED=$(FAULT_SEED) $(GO) test -tags planted ./integration -run '^TestPlanted$$' -count 1 -timeout $(FAULT_TIMEOUT) -v

.PHONY: dendrite
dendrite: ## Build a real Dendrite (the first time takes minutes) and follow its presence
	cd integration/dendrite && CGO_ENABLED=0 $(GO) build -o ../../bin/dendrite github.com/element-hq/dendrite/cmd/dendrite
	DENDRITE=$(CURDIR)/bin/dendrite $(GO) test -tags dendrite ./cmd/router-worker -run '^TestRealDendrite$$' -count 1 -v

.PHONY: mutants
mutants: ## Change the packages MUTANTS in one place after the other: their tests must find it
	$(GO) run ./internal/mutants -equivalent internal/mutants/equivalent.txt -skip Alloc -least $(MUTANTS_LEAST) $(MUTANTS)

.PHONY: bench
bench: $(call installed,$(BENCHSTAT)) ## Run the benchmarks BENCH (all) COUNT (10) times, and compare with the output BASE
	@mkdir -p bin
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -p 1 -timeout 0 $(PKG) | tee bin/bench.txt
	$(BIN)/benchstat $(BASE) bin/bench.txt

.PHONY: ratios
ratios: build ## Measure server and workers, in proportion to R
	bin/router-worker bench

.PHONY: growth
growth: build ## Measure how cost grows, and draw docs/charts anew
	bin/router-worker bench growth --charts docs/charts

.PHONY: peers
peers: build ## Measure other programs that do the same job, beside router-worker
	cd integration/peers && $(GO) build -mod=mod -o ../../bin/watermill ./watermill && $(GO) build -mod=mod -o ../../bin/bare ./bare
	bin/router-worker bench --recipients 1,10 --fan-in 0 --raw=false --latency=false --program watermill=bin/watermill --program bare=bin/bare

# An environment of Python packages: its file says that all of them are there in their versions.
define environment
$(BIN)/.$(1): $(PYTHON_DIR)/$(2) $(PYTHON_DIR)/pyproject.toml
	@{ $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' && $(PYTHON) -m venv --clear $(BIN)/$(1) && \
		$(BIN)/$(1)/bin/pip install -q -r $(PYTHON_DIR)/$(2) && \
		$(BIN)/$(1)/bin/pip install -q --no-deps --no-build-isolation -e $(PYTHON_DIR); } || \
		{ echo "COULD NOT INSTALL $(PYTHON_DIR)/$(2) (with Python 3.10 or newer, and its venv): nothing was tested with it" >&2; exit 1; }
	@touch $$@
endef
$(eval $(call environment,python,requirements.txt))
$(eval $(call environment,synapse,requirements-synapse.txt))

.PHONY: python
python: $(BIN)/.python ## Check the Python package: format, lint, types, tests
	cd $(PYTHON_DIR) && $(PYTHON_BIN)/ruff format --check . && $(PYTHON_BIN)/ruff check . && $(PYTHON_BIN)/mypy && $(PYTHON_BIN)/python -m pytest

.PHONY: synapse
synapse: $(BIN)/.synapse ## Test the Synapse module in a real Synapse
	cd $(PYTHON_DIR) && $(BIN)/synapse/bin/python -m pytest synapse_tests

.PHONY: tidy
tidy: ## Bring go.mod and go.sum up to date, of the modules below integration too
	$(GO) mod tidy
	cd integration/peers && $(GO) mod tidy
	cd integration/dendrite && $(GO) mod tidy

.PHONY: tidy-check
tidy-check: ## Show what tidy would change; fail if anything
	$(GO) mod tidy -diff

.PHONY: vuln
vuln: $(call installed,$(GOVULNCHECK)) ## Look up known vulnerabilities (needs vuln.go.dev; no gate)
	$(BIN)/govulncheck $(PKG)

.PHONY: check
check: fmt-check lint test tidy-check ## What a change must pass: format, lint, test, tidy

.PHONY: build
build: ## Build router-worker into bin
	$(GO) build -trimpath -o bin/router-worker ./cmd/router-worker
