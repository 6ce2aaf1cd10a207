# Makes, checks and shows the project. `make` lists what there is; `make demo` and `make test` each work alone.

ARGS ?=
# Tests wait for real processes: three at a time keep two cores busy; JOBS=0 runs them in this process.
JOBS ?= 3

BIN := .venv/bin
PY := $(BIN)/python
INSTALLED := .venv/.installed
PEERS := tests/peers
PEERS_PY := $(patsubst %/requirements.lock,%/.venv/.installed,$(wildcard $(PEERS)/*/requirements.lock))
PEERS_OWN := $(filter-out $(PEERS)/python-3.12/%,$(PEERS_PY))
PEERS_JS := $(patsubst %/package-lock.json,%/node_modules/.installed,$(wildcard $(PEERS)/*/package-lock.json))
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

# A name on PATH may be a shim for a version that is not there: only an interpreter that runs and says so counts.
FIT := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))
CANDIDATES := $(or $(PYTHON),python3.13 python3.12 python3.14 python3)
found = $(shell for p in $(CANDIDATES); do if "$$p" -c '$(FIT)' 2>/dev/null; then echo "$$p"; break; fi; done)
none-found = $(error Python 3.12 or newer, with its venv module, is needed, and of "$(CANDIDATES)" none is: \
install one, or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3)
python = $(or $(found),$(none-found))
# $(call environment,FOLDER) makes FOLDER a virtual environment, unless it is one that works.
works = $(shell $(1)/bin/python -c '$(FIT)' 2>/dev/null && echo yes)
environment = $(if $(works),:,$(python) -m venv --clear $(1))

PIP := -m pip --disable-pip-version-check -qq
UV = $(or $(shell command -v uv),build/uv/bin/uv)
UV_COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--python $(python) --python-version 3.12 $(ARGS)
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: help demo test lint bench soak dist peers lock clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## record, check, replay and plot a charging station's traffic; writes build/demo
	@$(PY) -m demo $(ARGS)

test: $(INSTALLED) ## every test; ARGS="-k replay" chooses, JOBS=0 runs them one by one
	@$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(INSTALLED) ## style, types, layers, and the house tests
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) $(BIN)/lint-imports --no-logo
	@$(if $(NOTEBOOKS),$(PY) -m nbstripout --verify $(NOTEBOOKS))
	@$(PY) -m pytest -q tests/test_house.py

bench: $(INSTALLED) ## every benchmark, quickly: one JSON line each
	@status=0; for script in $(BENCHMARKS); do $(PY) "$$script" --quick $(ARGS) || status=1; done; exit $$status

soak: $(INSTALLED) ## what takes long, in full: benchmarks, kills, damage, weeks; ARGS="--only kill" chooses
	@$(PY) -m soak $(ARGS)

dist: $(INSTALLED) ## the wheel, and a bundle that installs without a network; writes build/dist
	@$(PY) deploy/make_dist.py

peers: $(PEERS_PY) $(PEERS_JS) ## the third-party CSMSs, stations and tools that tests talk to (tests/peers/README.md)

lock: ## the hash-locked requirements, ours and the peers'; ARGS=--upgrade moves to newer versions
	@[ -x "$(UV)" ] || { $(call environment,build/uv) && build/uv/bin/python $(PIP) install uv; }
	@$(UV_COMPILE) --extra all pyproject.toml --output-file requirements.lock
	@set -e; for peer in $(PEERS)/*/requirements.in; do \
		$(UV_COMPILE) "$$peer" --output-file "$${peer%.in}.lock"; done
	@set -e; for peer in $(PEERS)/*/package.json; do (cd "$${peer%/*}" && npm install --package-lock-only \
		--omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --loglevel=error); done

clean: ## what the others made, the environments (.venv) excepted
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	@find . -name .venv -prune -o -name node_modules -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@$(call environment,.venv)
	@echo "installing into .venv (some minutes the first time)"
	@$(PY) $(PIP) install --require-hashes -r requirements.lock
	@$(PY) $(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(PEERS_OWN): $(PEERS)/%/.venv/.installed: $(PEERS)/%/requirements.lock
	@$(call environment,$(PEERS)/$*/.venv)
	@$(PEERS)/$*/.venv/bin/python $(PIP) install --require-hashes -r $<
	@touch $@ && echo "installed $*"

# The oldest Python that is supported; pyenv hides it behind a version that another one is set to.
oldest = $(shell for v in "" $$(pyenv versions --bare 2>/dev/null | grep '^3\.12'); do \
	PYENV_VERSION=$$v python3.12 -c 'import sys; print(sys.executable)' 2>/dev/null && break; done)

$(PEERS)/python-3.12/.venv/.installed: $(PEERS)/python-3.12/requirements.lock
	@[ -n "$(oldest)" ] || { echo "python3.12 is needed for python-3.12"; exit 2; }
	@$(oldest) -m venv --clear $(@D)
	@$(@D)/bin/python $(PIP) install --require-hashes -r $<
	@touch $@ && echo "installed python-3.12"

$(PEERS_JS): $(PEERS)/%/node_modules/.installed: $(PEERS)/%/package-lock.json
	@command -v npm >/dev/null || { echo "npm (Node.js 20 or newer) is needed for $*"; exit 2; }
	@cd $(PEERS)/$* && $(NPM_CI)
	@touch $@ && echo "installed $*"
