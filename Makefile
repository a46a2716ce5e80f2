# `make book` and `make test` do all set-up themselves: .venv, the locked packages, the package.
# A stamp in .venv stands for each step, so that nothing is done twice while its input is unchanged.

VENV  := .venv
PY    := $(VENV)/bin/python
# The first interpreter that is new enough; `make book PYTHON=/path/to/python3.12` overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help book test train full clean lock setup

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(VENV)/.project ## Build the book; prints the path of its index.html
	@$(PY) -m doit book

test: $(VENV)/.project ## Run the fast tests; SLOW=1 adds the slow ones
	@$(PY) -m pytest -n 2 --dist worksteal $(if $(SLOW),-m "slow or not slow",) $(ARGS)

train: $(VENV)/.project ## Train a network: make train RECIPE=recipes/NAME.toml
	@test -n "$(RECIPE)" || { echo "make train needs RECIPE=recipes/NAME.toml" >&2; exit 2; }
	@$(PY) -m aps_core.train $(RECIPE) $(ARGS)

full: $(VENV)/.project ## Run a notebook at full size: make full NOTEBOOK=NAME
	@test -n "$(NOTEBOOK)" || { echo "make full needs NOTEBOOK=NAME" >&2; exit 2; }
	@$(PY) -m doit full --notebook "$(NOTEBOOK)"

clean: ## Remove what the build made (the installed packages stay)
	rm -rf _build book/results .build .pytest_cache

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

# uv installs in seconds what pip installs in minutes; where uv cannot be had or its download fails, pip does it.
$(VENV)/.packages: $(VENV)/.python requirements.lock
	@echo "Installing the packages of requirements.lock"
	@( $(PY) -m pip install --quiet --disable-pip-version-check uv \
	   && $(PY) -m uv pip sync --quiet --python $(PY) --require-hashes requirements.lock ) \
	 || { echo "uv did not work here; installing with pip"; \
	      $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	@touch $@

$(VENV)/.project: $(VENV)/.packages pyproject.toml
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@
