# Paths are quoted and programs are run as modules: a clone may live under spaces and long paths, where the
# first line of a script cannot name its interpreter.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv/bin/python
ONLY ?=
WEEKS ?= 48
SERVICE ?=
SIZES ?= 1,3,10

# Before whatever needs the environment and does not make it: without, a shell would say "not found" and end in 127.
IS_SET_UP := [ -x $(VENV) ] || { echo "nothing is set up here: make setup" >&2; exit 1; }

# What the caller's shell has set for another Python, Spark or Airflow would decide what runs here.
unexport PYTHONPATH PYTHONHOME $(filter SPARK_% PYSPARK_% HADOOP_% AIRFLOW_%,$(.VARIABLES))

# `make -j`, also from a MAKEFLAGS in the environment: what needs the environment would run while it is being made.
.NOTPARALLEL:

.PHONY: setup up down status logs clean demo test lint types imports unit drills bench bench-index bench-scale lock help

setup: ## Make .venv from the lock, fetch and verify the JVM jars, check the machine (PYTHON=... picks the interpreter)
	@python=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python); do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make setup: $(if $(PYTHON),$(PYTHON) is not,found no) Python 3.11 or 3.12 with its venv module. Debian and Ubuntu: apt-get install -y python3 python3-venv; or name one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	"$$python" jobs/stack/bootstrap.py $(if $(PYTHON),--exact)

up: setup ## Start the local stack and wait until it is ready (ONLY=redis,api starts a part)
	@$(VENV) -m jobs.stack up $(if $(ONLY),--only "$(ONLY)")

down: ## Stop the local stack; nothing is lost
	@if [ -x $(VENV) ]; then $(VENV) -m jobs.stack down; else echo "nothing is set up here: make setup"; fi

status: ## Services, memory (PSS), addresses and logins
	@$(IS_SET_UP); $(VENV) -m jobs.stack status

logs: ## Follow the logs (SERVICE=kafka follows one)
	@$(IS_SET_UP); $(VENV) -m jobs.stack logs $(SERVICE)

demo: setup ## Everything: set up, start, run the pipeline on the real data, show lists and links (WEEKS=12 is smaller)
	@$(VENV) -m jobs.cli demo --weeks $(WEEKS)

# mypy has one core for a minute: beside the tests, and what it found is said at their end.
test: setup lint imports ## Linters, types, import rules and all tests
	@log=$$(mktemp); $(MAKE) --no-print-directory types >"$$log" 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory unit; unit=$$?; \
	wait $$types; types=$$?; cat "$$log"; rm -f "$$log"; exit $$((unit + types))

lint: ## ruff: rules and format
	@$(IS_SET_UP); $(VENV) -m ruff check .
	@$(VENV) -m ruff format --check .

types: ## mypy, strict
	@$(IS_SET_UP); $(VENV) -m mypy

imports: ## Who may import whom
	@$(IS_SET_UP); $(VENV) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

unit: ## pytest, all of it in two workers, with a coverage report and its floor (pyproject.toml)
	@$(IS_SET_UP); $(VENV) -m pytest -p tests.workers -n 2 --cov --cov-report=term

drills: setup ## kill -9 of each process during the demo, two workers instead of one process: the same result (two hours)
	@$(VENV) -m pytest -m drill tests/e2e tests/jobs/stack

bench: setup ## Measure the pipeline and the API; writes the README's table
	@$(VENV) -m jobs.cli bench --readme

bench-index: setup ## Flat, IVF and adaptive LSH on a million synthetic vectors; writes the table of models/README.md
	@$(VENV) -m jobs.cli bench index --readme

bench-scale: setup ## 1x, 3x, 10x users on a Spark master and two workers; writes jobs/SCALE.md (SIZES=1,3 WEEKS=12 is smaller)
	@$(VENV) -m jobs.cli bench scale --sizes $(SIZES) --weeks $(WEEKS) --readme

lock: ## Resolve requirements.txt anew from pyproject.toml (review the difference)
	@$(IS_SET_UP); $(VENV) -m jobs.stack.lock

clean: ## Stop the stack and delete its state (asks; CONFIRM=1 does not); the environment stays
	@if [ -x $(VENV) ]; then $(VENV) -m jobs.stack clean $(if $(CONFIRM),--yes); else echo "nothing is set up here: make setup"; fi

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
