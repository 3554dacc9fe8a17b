# Everything a newcomer runs. `make train` and `make test` make the environment first.
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
VENV_TRL ?= .venv-trl
SEED ?= 0
BIN := $(VENV)/bin
# Each stamp is written last: what was interrupted is done again.
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
COMPARED := $(VENV_TRL)/.installed

# Without a CUDA GPU in sight, PyTorch's CPU build is all that is needed; a plain `pip install
# torch` would bring gigabytes of CUDA libraries. Override with TORCH=torch for a GPU.
TORCH ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo torch || echo torch==2.13.0)

.PHONY: help train test test-browser test-trl lint format clean bench

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

train: $(INSTALLED) ## train FlowRL on Countdown from the built-in base model (SEED=0)
	$(BIN)/flowbalance train recipes/countdown.yaml seed=$(SEED)

test: $(DEVELOPED) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-browser: $(DEVELOPED) ## the tests of the page in chromium (apt-get install chromium chromium-driver)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/report/test_page_browser.py

test-trl: $(COMPARED) ## compare the baselines' losses with TRL's own code
	OMP_NUM_THREADS=1 $(VENV_TRL)/bin/python -m pytest tests_trl

lint: $(DEVELOPED) ## ruff and pyright
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

bench: $(INSTALLED) ## sampling against Transformers' generate; time and memory of a step
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/rollout.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step.py

clean: ## remove the environments
	rm -rf $(VENV) $(VENV_TRL)

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flowbalance needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): pyproject.toml $(CREATED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEVELOPED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# TRL brings versions of its own, hence an environment of its own.
$(COMPARED): pyproject.toml tests_trl/requirements.txt
	$(PYTHON) -m venv --clear $(VENV_TRL)
	$(VENV_TRL)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(VENV_TRL)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r tests_trl/requirements.txt -e .
	@touch $@
