# `make train` learns, probes and reports; `make test` is what CI runs. `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
PRESET ?= quick
RUN    ?= runs/$(PRESET)
ARGS   ?=

BIN    := $(VENV)/bin
VASE   := $(BIN)/vase
REPORT := $(RUN)/report.html

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help train test test-slow lint typecheck docs package bench reliability attacks fuzz soak lock audit clean

help: ## show this list
	@echo "usage: make TARGET [RUN=folder] [PRESET=name] [ARGS='more arguments'] [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'

train: $(VENV)/train.stamp ## train PRESET into RUN, or go on with an unfinished RUN
	@if [ -e '$(REPORT)' ]; then \
	  echo "==> $(RUN) is finished. Its report: $(REPORT)"; \
	  echo "    To start anew: make train RUN=$(RUN)-2"; \
	elif [ -e '$(RUN)' ]; then \
	  echo "==> $(RUN) is unfinished: going on with it, as it was configured."; \
	  $(if $(ARGS),echo "    ARGS is left out: a run keeps the configuration it began with.";) \
	  echo "    To start anew instead: make train RUN=$(RUN)-2"; \
	  $(VASE) resume '$(RUN)'; \
	else \
	  echo "==> Training preset '$(PRESET)' into $(RUN)"; \
	  $(VASE) train $(PRESET) --out '$(RUN)' $(ARGS); \
	fi

test: $(VENV)/dev.stamp lint typecheck ## ruff, mypy and the tests (CI runs this)
	@echo "==> Tests"
	@$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/dev.stamp ## the long tests only
	@echo "==> Slow tests"
	@$(BIN)/pytest -m slow $(ARGS)

lint: $(VENV)/dev.stamp ## ruff: rules and format
	@echo "==> Lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

typecheck: $(VENV)/dev.stamp ## mypy, strict
	@echo "==> Types"
	@$(BIN)/mypy

docs: $(VENV)/dev.stamp ## the documentation as a site, in site/
	@echo "==> Documentation"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "    Open site/index.html, or show it with: $(BIN)/mkdocs serve"

package: $(VENV)/dev.stamp ## wheel and sdist, and the wheel at work in an empty environment
	@echo "==> Package"
	@rm -rf dist build/empty
	@$(BIN)/python -m build --outdir dist >/dev/null
	@'$(PYTHON)' -m venv build/empty
	@build/empty/bin/pip install -qq --disable-pip-version-check -c constraints.txt dist/*.whl
	@build/empty/bin/pip check
	@cd build/empty && bin/vase train toy --out run 'stream.schedule=[["moving-solids", 30]]' \
	  probes.train=100 probes.test=100
	@du -sh build/empty
	@ls -l dist

bench: $(VENV)/dev.stamp ## what a step and what is around it cost, as ratios within one run
	@echo "==> Benchmark"
	@$(BIN)/python benchmarks/step.py $(ARGS)
	@$(BIN)/python benchmarks/environments.py $(ARGS)
	@$(BIN)/python benchmarks/around.py $(ARGS)
	@$(BIN)/python benchmarks/busy.py

reliability: $(VENV)/dev.stamp ## kill runs, spoil their writes, count what is lost (docs/reliability.md)
	@echo "==> Reliability"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability.py $(ARGS)

attacks: $(VENV)/dev.stamp ## what strangers may try, counted by kind (docs/reliability.md)
	@echo "==> Attacks"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/attacks.py
	@$(BIN)/python benchmarks/reliability_page.py

fuzz: $(VENV)/dev.stamp ## 10,000 spoilt files for each reader at random, and 10,000 guided by coverage
	@echo "==> Fuzz"
	@$(PIP_INSTALL) -e '.[fuzz]'
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py $(ARGS)
	@$(BIN)/python benchmarks/reliability_page.py

soak: $(VENV)/dev.stamp ## a million steps of a small model: does anything grow? (an hour or two)
	@echo "==> Soak"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py $(ARGS)
	@$(BIN)/python benchmarks/reliability_page.py

lock: $(VENV)/dev.stamp ## what the tests are installed from, with hashes, anew (locks/dev.txt)
	@$(PIP_INSTALL) uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev -c constraints.txt \
	  --universal --python-version 3.11 --generate-hashes --no-emit-package torch --no-annotate \
	  --custom-compile-command 'make lock' --quiet -o locks/dev.txt

audit: $(VENV)/dev.stamp ## known weaknesses of what the tests are installed from
	@$(PIP_INSTALL) pip-audit
	@$(BIN)/pip-audit --disable-pip --require-hashes -r locks/dev.txt -r locks/torch.txt

clean: ## remove the virtual environment, caches and build products; keep the runs
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# -qq: only errors. pip leaves what is already installed and fits as it is.
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PIP_LOCKED := $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps

$(VENV)/train.stamp: pyproject.toml constraints.txt | $(BIN)/activate
	@echo "==> Installing VASE and what it needs into $(VENV) (PyTorch is large: some minutes)"
	@$(PIP_INSTALL) -e .
	@touch $@

# Every file is held to the hashes in locks/, but for the NVIDIA libraries that a CUDA build of
# PyTorch pins itself: those are what the third line fetches, and nothing where there is a CPU build.
$(VENV)/dev.stamp: pyproject.toml constraints.txt locks/dev.txt locks/torch.txt | $(BIN)/activate
	@echo "==> Installing VASE and its test tools into $(VENV) (PyTorch is large: some minutes)"
	@$(PIP_LOCKED) -r locks/torch.txt
	@$(PIP_LOCKED) -r locks/dev.txt
	@$(PIP_INSTALL) torch
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $(VENV)/train.stamp $@

# `activate` is the last file that venv writes, so it stands for a whole environment.
$(BIN)/activate:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "error: no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: VASE needs Python 3.11 or newer; '$(PYTHON)' is $$('$(PYTHON)' --version 2>&1). Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "==> Making $(VENV) with $$('$(PYTHON)' --version)"
	@'$(PYTHON)' -m venv --clear $(VENV)
