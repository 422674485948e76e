# `make train` learns, probes and reports; `make test` is what CI runs. `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
PRESET ?= quick
RUN    ?= runs/$(PRESET)
ARGS   ?=
# The build of PyTorch: its lock. CI also asks for locks/torch-oldest.txt, the oldest that works.
TORCH  ?= locks/torch.txt

BIN    := $(VENV)/bin
TOOLS  := $(VENV)/tools
PEERS  := $(VENV)/peers
VASE   := $(BIN)/vase
REPORT := $(RUN)/report.html

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help env train test test-slow lint typecheck docs package bench bench-peers reliability attacks mutation fuzz soak lock audit clean

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

env: $(VENV)/dev.stamp ## the environment alone, for tests, benchmarks and pages of results
	@echo "==> Ready: $(BIN)/vase, $(BIN)/python"

test: $(VENV)/dev.stamp lint typecheck ## ruff, mypy and the tests (CI runs this)
	@echo "==> Tests"
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/dev.stamp ## the long tests only
	@echo "==> Slow tests"
	@$(BIN)/pytest -m slow $(ARGS)

lint: $(VENV)/dev.stamp ## ruff: rules and format; import-linter: who may import whom
	@echo "==> Lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --config pyproject.toml >$(VENV)/imports.txt || { cat $(VENV)/imports.txt; exit 1; }

typecheck: $(VENV)/dev.stamp ## mypy, strict
	@echo "==> Types"
	@$(BIN)/mypy

docs: $(VENV)/dev.stamp ## the documentation as a site, in site/
	@echo "==> Documentation"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "    Open site/index.html, or show it with: $(BIN)/mkdocs serve"

package: $(VENV)/dev.stamp $(VENV)/tools.stamp ## wheel, sdist, bill of materials; the wheel at work in an empty environment
	@echo "==> Package"
	@rm -rf dist build/empty
	@$(BIN)/python -m build --no-isolation --outdir dist >/dev/null
	@cat locks/torch.txt locks/cuda.txt locks/train.txt | PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file dist/sbom.cdx.json -
	@'$(PYTHON)' -m venv build/empty
	$(call locked,build/empty/bin/python,locks/train.txt)
	@build/empty/bin/python -m pip $(QUIET) --no-index --no-deps dist/*.whl
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

bench-peers: $(VENV)/peers.stamp ## seconds to a useful model, beside pythae, disent and a loop by hand (an hour)
	@echo "==> Peers"
	@OMP_NUM_THREADS=1 $(PEERS)/bin/python benchmarks/peers.py time $(ARGS)

reliability: $(VENV)/dev.stamp ## kill runs, spoil their writes, count what is lost (docs/reliability.md)
	@echo "==> Reliability"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability.py $(ARGS)

mutation: $(VENV)/dev.stamp ## plausible bugs, one at a time: which does no test notice? (hours; goes on where it stopped)
	@echo "==> Mutation"
	@$(BIN)/python -m pip $(QUIET) $(HASHED) -r locks/mutation.txt
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutation.py $(ARGS)
	@$(BIN)/python benchmarks/reliability_page.py

attacks: $(VENV)/dev.stamp ## what strangers may try, counted by kind (docs/reliability.md)
	@echo "==> Attacks"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/attacks.py
	@$(BIN)/python benchmarks/reliability_page.py

fuzz: $(VENV)/dev.stamp ## 10,000 spoilt files for each reader at random, and 10,000 guided by coverage
	@echo "==> Fuzz"
	@$(BIN)/python -m pip $(QUIET) $(HASHED) -r locks/fuzz.txt
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py $(ARGS)
	@$(BIN)/python benchmarks/reliability_page.py

soak: $(VENV)/dev.stamp ## a million steps of a small model: does anything grow? (an hour or two)
	@echo "==> Soak"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py $(ARGS)
	@$(BIN)/python benchmarks/reliability_page.py

# dev.txt first: what else is locked agrees with it. A CUDA build of PyTorch pins its NVIDIA libraries,
# which nothing else needs: they are the rest of what that build asks for.
lock: $(VENV)/tools.stamp ## everything that is installed, with hashes, anew (locks/)
	@$(COMPILE) pyproject.toml --extra dev --group build -c constraints.txt --no-emit-package torch -o locks/dev.txt
	@$(COMPILE) pyproject.toml --group build -c constraints.txt -c locks/dev.txt --no-emit-package torch -o locks/train.txt
	@$(COMPILE) --group tools -o locks/tools.txt
	@$(COMPILE) --group mutation -c locks/dev.txt -o locks/mutation.txt
	@$(COMPILE) pyproject.toml --group build --group peers -c constraints.txt -c locks/train.txt --no-emit-package torch -o locks/peers.txt
	@grep '^atheris==' constraints.txt | $(COMPILE) - -o locks/fuzz.txt
	@echo '$(OLDEST)' | $(COMPILE) --no-config --no-deps - -o locks/torch-oldest.txt
	@grep '^torch==' constraints.txt | $(COMPILE) --no-config $(SHARED) --no-emit-package setuptools - -o locks/cuda.txt
	@echo '$(OLDEST)' | $(COMPILE) --no-config $(SHARED) - -o locks/cuda-oldest.txt

audit: $(VENV)/tools.stamp ## known weaknesses of what is installed, tools included
	@for lock in dev train tools; do \
	  $(TOOLS)/bin/pip-audit --disable-pip --require-hashes -r locks/$$lock.txt -r locks/torch.txt || exit 1; \
	done

clean: ## remove the virtual environment, caches and build products; keep the runs
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# -qq: only errors. pip leaves what is already installed and fits as it is.
QUIET  := install -qq --disable-pip-version-check
# Every file is held to the hashes in locks/, and is a wheel: building one would run code and fetch
# more without a hash.
HASHED := --require-hashes --no-deps --only-binary :all:
COMPILE := $(TOOLS)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate \
  --quiet --custom-compile-command 'make lock'
OLDEST := torch==2.11.0
SHARED := $(addprefix --no-emit-package ,torch filelock fsspec jinja2 markupsafe mpmath networkx sympy typing-extensions)

# PyTorch, a lock, and the NVIDIA libraries where PyTorch is a CUDA build: into the Python $(1).
# A wheel of PyTorch that is on the machine already (pip's find-links) comes first: it may be the
# small CPU build, whose hash is known too, and pip by itself would take the index's.
define locked
@$(1) -m pip $(QUIET) $(HASHED) --no-index -r $(TORCH) 2>/dev/null || $(1) -m pip $(QUIET) $(HASHED) -r $(TORCH)
@$(1) -m pip $(QUIET) $(HASHED) -r $(2)
@$(1) -c 'import importlib.metadata as m, sys; sys.exit("nvidia" in str(m.requires("torch")))' || \
  $(1) -m pip $(QUIET) $(HASHED) -r $(TORCH:locks/torch%=locks/cuda%)
endef

# The project, into the Python $(1), built by the backend that the lock has brought: nothing is fetched.
define project
@$(1) -m pip $(QUIET) --no-index --no-deps --no-build-isolation -e .
endef

$(VENV)/train.stamp: pyproject.toml locks/train.txt $(TORCH) | $(BIN)/activate
	@echo "==> Installing VASE and what it needs into $(VENV) (PyTorch is large: some minutes)"
	$(call locked,$(BIN)/python,locks/train.txt)
	$(call project,$(BIN)/python)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml locks/dev.txt $(TORCH) | $(BIN)/activate
	@echo "==> Installing VASE and its test tools into $(VENV) (PyTorch is large: some minutes)"
	$(call locked,$(BIN)/python,locks/dev.txt)
	$(call project,$(BIN)/python)
	@touch $(VENV)/train.stamp $@

# In an environment of their own: what uv and pip-audit need must not change what the tests see.
$(VENV)/tools.stamp: locks/tools.txt | $(BIN)/activate
	@'$(PYTHON)' -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python -m pip $(QUIET) $(HASHED) -r locks/tools.txt
	@touch $@

# In an environment of their own: what the peers need must not change what anyone else sees.
$(VENV)/peers.stamp: locks/peers.txt $(TORCH) | $(BIN)/activate
	@echo "==> Installing the packages that VASE is compared with into $(PEERS)"
	@'$(PYTHON)' -m venv --clear $(PEERS)
	$(call locked,$(PEERS)/bin/python,locks/peers.txt)
	$(call project,$(PEERS)/bin/python)
	@touch $@

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
