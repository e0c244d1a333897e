# make demo | observe | test | test-vllm | chaos | fuzz | nightly | bench | lint | install | uninstall | clean
# The environment in .venv is built once and again only when setup.py, pyproject.toml or the pins of mistral-common change.

PYTHON ?= python3
PREFIX ?= /opt/devstral-router
BINDIR ?= /usr/local/bin
SYSCONFDIR ?= /etc
DESTDIR ?=

VENV := .venv
RUN := $(VENV)/.for-running
TEST := $(VENV)/.for-testing
FUZZ := $(VENV)/.for-fuzzing
REAL := tests/translate/real
MISTRAL := $(VENV)/mistral-common/.installed
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo observe test test-vllm fetch-vllm chaos fuzz nightly bench lint install uninstall clean
.DELETE_ON_ERROR:

help:
	@head -n 2 Makefile | cut -c 3-

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "devstral-router needs Python 3.11 or newer (make PYTHON=...)")'
	@$(PYTHON) -m venv $(VENV)

$(RUN): setup.py pyproject.toml | $(VENV)/bin/python
	@$(PIP) install --editable '.[docs]'
	@touch $@

$(TEST): setup.py pyproject.toml | $(VENV)/bin/python
	@$(PIP) install --editable '.[test]'
	@touch $(RUN) $@

$(FUZZ): $(TEST)
	@$(PIP) install --editable '.[fuzz]'
	@touch $@

$(MISTRAL): $(REAL)/pins.txt $(REAL)/install.sh | $(VENV)/bin/python
	@sh $(REAL)/install.sh $(VENV)/bin/python $(VENV)/mistral-common
	@touch $@

demo: $(RUN)
	@$(VENV)/bin/devstral-router demo

# Alerts at work, before a real Prometheus. OBSERVE_FLAGS=--once: one round, without a pause.
OBSERVE_FLAGS ?= --hold 5
observe: $(TEST)
	@$(VENV)/bin/python -m tests.alerting $(OBSERVE_FLAGS)

lint: $(TEST)
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy --no-error-summary

# TEST_JOBS: tests that run at a time, at most one per core. Those marked `alone` come after the others, one by one.
TEST_JOBS ?= 2
test: lint $(MISTRAL)
	@$(VENV)/bin/python -m pytest --quiet --numprocesses=logical --maxprocesses=$(TEST_JOBS) --dist=worksteal -m 'not alone'
	@$(VENV)/bin/python -m pytest --quiet -m alone

nightly: $(TEST) $(MISTRAL)
	@ROUTER_NIGHTLY=1 $(VENV)/bin/python -m pytest --quiet tests/translate/test_conversations.py tests/translate/test_streams_random.py tests/wire/test_connection_machine.py tests/wire/test_backend_machine.py tests/handlers/openapi/test_fuzzed.py

test-vllm: $(TEST)
	@PYTHON=$(VENV)/bin/python bash tests/vllm/run.sh

fetch-vllm: $(TEST)
	@PYTHON=$(VENV)/bin/python bash tests/vllm/run.sh --install-only

chaos: $(TEST)
	@ROUTER_CHAOS=1 $(VENV)/bin/python -m pytest --quiet tests/chaos tests/corpus/test_crowds.py
	@$(VENV)/bin/python -m tests.chaos.figures

# Bounded, about five minutes. FUZZ_FLAGS="--seconds 600 requests" fuzzes one target for longer; python -m tests.fuzz --help tells more.
fuzz: $(FUZZ)
	@$(VENV)/bin/python -m tests.fuzz $(FUZZ_FLAGS)
	@$(VENV)/bin/python -m tests.fuzz.uvicorn_reads
	@$(VENV)/bin/python -m tests.fuzz.forms_read
	@$(VENV)/bin/python -m tests.fuzz.odd_answers

bench: $(TEST)
	@PYTHON=$(VENV)/bin/python sh bench/run.sh

install:
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' SYSCONFDIR='$(SYSCONFDIR)' PYTHON='$(PYTHON)' bash systemd/install.sh install

uninstall:
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' SYSCONFDIR='$(SYSCONFDIR)' bash systemd/install.sh uninstall

clean:
	@rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache
	@find router tests -name __pycache__ -type d -prune -exec rm -rf {} +
