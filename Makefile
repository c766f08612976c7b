# One command per thing. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help install install-dev hooks run test lint format bench requirements clean

python := .venv/bin/python
sources := manage.py vla_project core accounts collections_app inference feedback pipeline tests benchmarks requirements
# What exists of them: a checkout may lack one.
sources := $(wildcard $(sources))

# B104: which address to listen on is the operator's choice (HOST). B310: so are the URLs that are opened.
bandit_skipped := B104,B310
# Production settings with made-up values, for Django's own checks; nothing is connected to.
# Its secrets are new each time: production refuses any value that stands in a repository.
made_up_secret = $$($(python) -c 'import secrets; print(secrets.token_urlsafe(48))')
check_env = env $$(grep -v '^\#' deploy/check.env) SECRET_KEY=$(made_up_secret) API_KEY_PEPPER=$(made_up_secret)

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

install: ## What the system needs, into .venv (run does it by itself)
	@requirements/install.sh run

install-dev: ## What tests and checks need as well
	@requirements/install.sh dev

hooks: install-dev ## Check what is committed, from now on: ruff and the import contracts, in seconds
	git config core.hooksPath .githooks

run: install ## The whole system, until Ctrl-C
	@exec $(python) -m vla_project.launcher run

test: install-dev ## The whole test suite, on services that it starts itself; ARGS="tests/inference -x" narrows it
	$(python) -m pytest -n 2 $(ARGS)

lint: install-dev ## Everything that is checked without running the system
	$(python) -m ruff check $(sources)
	$(python) -m ruff format --check $(sources)
	$(python) -m mypy $(filter-out tests,$(sources))
	.venv/bin/lint-imports
	$(python) -m bandit -q -ll --skip $(bandit_skipped) -r $(filter-out tests,$(sources))
	$(python) requirements/export.py --check
	$(check_env) $(python) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(check_env) $(python) manage.py check --deploy --fail-level WARNING
	@requirements/audit.sh

format: install-dev ## Put the sources into shape
	$(python) -m ruff check --fix $(sources)
	$(python) -m ruff format $(sources)

bench: install-dev ## The benchmarks: tables, and var/bench/*.json
	$(python) -m benchmarks

requirements: install-dev ## Write requirements/*.txt from pyproject.toml and .venv
	$(python) requirements/export.py

clean: ## Remove what can be made again; .venv and the data under var/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache htmlcov .coverage* var/test
	find $(sources) -name __pycache__ -type d -exec rm -rf {} +
