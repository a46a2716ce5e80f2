# `make book` and `make test` do all set-up themselves: .venv, the locked packages, the package.
# A stamp in .venv stands for each step, so that nothing is done twice while its input is unchanged.

VENV  := .venv
PY    := $(VENV)/bin/python
# The first interpreter that is new enough; `make book PYTHON=/path/to/python3.12` overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$p; break; }; done)

# Without bytecode each notebook and each test that starts a process compiles JAX's sources anew, 7 seconds of 11.
unexport PYTHONDONTWRITEBYTECODE

# Notebooks that run at once; one whose page is about times runs alone, afterwards. The threads of OpenBLAS wait for each other
# busily: with as many as cores in each of two notebooks one took eight minutes in the place of one.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help book test browser pdf lint train full bench workflow clean lock setup

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(VENV)/.project ## Build the book; prints the path of its index.html; PAGES="faces toy2d" only some
	@PAGES="$(PAGES)" $(if $(filter-out 1,$(JOBS)),OPENBLAS_NUM_THREADS=1 APS_AT_ONCE=$(JOBS),) $(PY) -m doit run -n $(JOBS) -P thread together
	@PAGES="$(PAGES)" $(PY) -m doit book

test: $(VENV)/.project ## Run the fast tests; SLOW=1 adds the slow ones, LONG=1 the long ones too
	@$(PY) -m pytest -n 2 --dist worksteal --ignore=tests/browser $(if $(LONG),-m "slow or not slow",$(if $(SLOW),-m "not long",)) $(ARGS)

browser: $(VENV)/.project ## Check the built book in a browser, where there is one
	@test -f _build/html/index.html || { echo "make browser needs a built book: make book" >&2; exit 2; }
	@$(PY) -m pytest -q -n 2 -m "slow or not slow" tests/browser $(ARGS)

pdf: $(VENV)/.project ## Print the whole book to _build/aps.pdf; needs a Chromium
	@$(PY) -m doit pdf

lint: $(VENV)/.project ## Check format, style, types and imports
	@$(PY) -m ruff format --check --quiet . || { echo "make lint: ruff format would change files (.venv/bin/ruff format)" >&2; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m basedpyright --level error --pythonpath $(PY)

train: $(VENV)/.project ## Train a network: make train RECIPE=recipes/NAME.toml
	@test -n "$(RECIPE)" || { echo "make train needs RECIPE=recipes/NAME.toml" >&2; exit 2; }
	@$(PY) -m aps_book.train $(RECIPE) $(ARGS)

full: $(VENV)/.project ## Run a notebook at full size: make full NOTEBOOK=NAME
	@test -n "$(NOTEBOOK)" || { echo "make full needs NOTEBOOK=NAME" >&2; exit 2; }
	@mkdir -p .build
	@$(PY) -m doit run --db-file ".build/full-$(notdir $(NOTEBOOK)).json" full --notebook "$(NOTEBOOK)"

bench: $(VENV)/.project ## Speed beside an unadorned JAX loop and other packages; ARGS="--size small --ratios" takes a minute
	@$(PY) benchmarks/bench.py $(ARGS)

clean: ## Remove what the build made (the installed packages stay)
	rm -rf _build book/results .build .pytest_cache .ruff_cache
	find weights recipes checkpoints results -name '.*.part' -delete 2>/dev/null || true

workflow: .venv-workflow/.packages ## Install Snakemake, which runs sweeps, in an environment of its own

setup: $(VENV)/.project ## Only install

lock: $(VENV)/.project ## Resolve requirements.lock anew from pyproject.toml (needs the network)
	@$(PY) scripts/lock.py

$(VENV)/.python:
	@test -n "$(PYTHON)" || { \
	  echo "Python 3.11 or later with venv was not found." >&2; \
	  echo "Install it (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python)," >&2; \
	  echo "or name it: make book PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11; name a newer one: make book PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

.venv-workflow/.packages: $(VENV)/.python workflow/requirements.txt
	@$(PY) -m venv --clear .venv-workflow
	@.venv-workflow/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r workflow/requirements.txt
	@touch $@

# uv installs in seconds what pip installs in minutes; where uv cannot be had or its download fails, pip does it. Both check
# every hash, also that of uv itself, which the lock holds.
$(VENV)/.packages: $(VENV)/.python requirements.lock
	@echo "Installing the packages of requirements.lock"
	@awk 'found && !/^ / { exit } /^uv==/ { found = 1 } found' requirements.lock > $(VENV)/uv.txt
	@( $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt \
	   && $(PY) -m uv pip sync --quiet --python $(PY) --require-hashes requirements.lock ) \
	 || { echo "uv did not work here; installing with pip"; \
	      $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	@touch $@

$(VENV)/.project: $(VENV)/.packages pyproject.toml
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@
