# `make` lists what can be made. Every target prepares what it needs, in a fresh clone too.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
export PYTHONUTF8 := 1
else
BIN := $(VENV)/bin
endif
ARGS ?=
TEST_ARGS ?=
QUIET = $(filter -q --quiet --json,$(ARGS))

.DEFAULT_GOAL := help
.PHONY: help train test test-matrix gpu torture audit lint format docs site bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Stamps: what is installed is installed again only when these files change. Once they are there,
# no target needs the network.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.python
	@echo 'Installing torch and the other packages into $(VENV). On Linux this downloads about 3 GB, once,'
	@echo 'and takes 5.5 GB of disk. README.md says how to use a smaller, CPU-only torch.'
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[digits,plots,transforms]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	@echo 'Installing torch, the other packages and those of the tests into $(VENV): about 3 GB, once'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.run

train: $(VENV)/.run ## train on MNIST (or the bundled digits), evaluate, dump the gradients
	$(BIN)/mnist train $(ARGS)
	$(BIN)/mnist inspect-grad --replay --format json,svg,html
	$(if $(QUIET),$(BIN)/mnist eval,@scores=$$($(BIN)/mnist eval) && printf '%s\n' "$$scores" | head -n 1)
	$(if $(QUIET),,@printf '%s\n' \
	  'Open grad/graph.html in the run directory above: the backward graph. curves.png: the learning curves.' \
	  'Next: $(BIN)/mnist eval          metrics per class and mistakes' \
	  '      $(BIN)/mnist draw --open   draw a digit and watch the network read it' \
	  '      $(BIN)/mnist --help        plot, predict, inspect-grad and all other commands')

test: $(VENV)/.dev ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TEST_ARGS)

test-matrix: $(VENV)/.dev ## run the tests that compute under imitated CPUs, other users and torch versions
	$(BIN)/python tests/matrix.py $(ARGS)

# A GPU machine may have neither network nor all packages: this target installs nothing. It uses
# the environment that other targets made, else the Python at hand with the torch that it has.
DEVICE ?= cuda
GPU_PYTHON ?= $(if $(wildcard $(VENV)/.run),$(BIN)/python,$(PYTHON))
CORE = torch numpy typer rich pydantic tomlkit filelock pytest
gpu: ## check training on the GPU and run its tests; gpu.md has the results
	@$(GPU_PYTHON) -c 'import sys; from importlib.util import find_spec; \
	  gone = [name for name in "$(CORE)".split() if find_spec(name) is None]; \
	  sys.exit(sys.executable + " lacks " + ", ".join(gone) + ": choose another Python with \
	GPU_PYTHON=..., or see CONTRIBUTING.md for the packages to bring" if gone else 0)'
	@rm -f gpu.md; status=0; \
	$(GPU_PYTHON) -m mnist_cli doctor --prove --device $(DEVICE) --json --out gpu.md > gpu.json || status=1; \
	test ! -f gpu.md || cat gpu.md; \
	$(GPU_PYTHON) -m pytest -c tests/bare.ini --rootdir . -m cuda $(TEST_ARGS) \
	  $$(grep -rl --include='test_*.py' 'mark\.cuda' tests) || status=1; \
	exit $$status

torture: $(VENV)/.dev ## kill it, starve it, feed it rubbish, at full size; prints the table
	TORTURE=full $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 3600 tests/torture $(TEST_ARGS)

audit: $(VENV)/.dev ## look for known holes in the pinned versions; needs PyPI, and fails without it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

lint: $(VENV)/.dev ## check style, formatting, layers, and types on Linux, macOS and Windows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --no-warn-unreachable --cache-dir .mypy_cache/darwin

format: $(VENV)/.dev ## bring the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## rewrite the reference of every command, and the output that the pages show
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/notebook.py
	DOCS=rewrite $(BIN)/python -m pytest -q tests/test_learning_path.py tests/autograd/test_questions_page.py tests/api/test_api_page.py

# The extra `site` alone, without torch, which the pages do not need.
$(VENV)/.site: pyproject.toml constraints.txt | $(VENV)/.python
	@$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*project["optional-dependencies"]["site"], sep="\n")' > $(VENV)/site.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(VENV)/site.txt
	@touch $@

site: $(VENV)/.site ## build README.md and docs/ as a website in build/site; a dead link fails
	$(BIN)/python -m sphinx -W --keep-going --quiet -c docs -d build/doctrees . build/site
	@echo 'Open build/site/index.html'

bench: $(VENV)/.run ## measure the presets side by side on this machine (ARGS=--help says what else)
	$(BIN)/mnist bench $(ARGS)

clean: ## remove the environment, caches and build results; runs/ and data/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
