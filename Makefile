# Everything a newcomer runs. `make train` and `make test` make the environment first.
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
VENV_TRL ?= .venv-trl
VENV_VLLM ?= .venv-vllm
VENV_VERL ?= .venv-verl
SEED ?= 0
BIN := $(VENV)/bin
# Each stamp is written last: what was interrupted is done again.
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
COMPARED := $(VENV_TRL)/.installed
SAMPLED := $(VENV_VLLM)/.installed
SCALED := $(VENV_VERL)/.installed

# Environments are installed from committed versions, so that they do tomorrow what they do today.
# Where a CUDA GPU is in sight they are those with PyTorch's CUDA build.
CONSTRAINTS ?= constraints/$(shell command -v nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu).txt
# pip hands the first to the environments in which it builds, too; from 26.2 on, the second.
INSTALL = PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=$(1) \
	$(2)/bin/python -m pip install --quiet --disable-pip-version-check
# Processes that run the tests, each with one thread.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

.PHONY: help train test test-lowest test-newest test-browser test-trl test-vllm test-verl lint format clean \
	bench bench-trl constraints docs

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

train: $(INSTALLED) ## train FlowRL on Countdown from the built-in base model (SEED=0)
	$(BIN)/evenflow train recipes/countdown.yaml seed=$(SEED)

test: $(DEVELOPED) ## run the tests
	$(TEST)

test-lowest: ## the tests with the lowest releases that pyproject.toml allows
	$(MAKE) test VENV=$(VENV)-lowest CONSTRAINTS=constraints/lowest.txt

# Without constraints, but for PyTorch: any but this release would bring gigabytes of CUDA here.
test-newest: $(CREATED) ## the tests, and two steps of training, with the newest releases there are
	@newer=$$($(BIN)/python constraints/resolve.py --newer $(basename $(notdir $(CONSTRAINTS)))) || exit; \
	if [ -z "$$newer" ]; then \
		echo "Nothing is newer than what make test installs."; \
	else \
		echo "Newer than what make test installs:" $$newer; \
		$(MAKE) test VENV=$(VENV)-newest CONSTRAINTS=constraints/newest.txt && \
		$(VENV)-newest/bin/evenflow train recipes/countdown.yaml train.steps=2 \
			output=$(VENV)-newest/run; \
	fi

test-browser: $(DEVELOPED) ## the tests of the page in chromium (apt-get install chromium chromium-driver)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/report/test_page_browser.py

test-trl: $(COMPARED) ## compare the baselines' losses with TRL's own code
	OMP_NUM_THREADS=1 $(VENV_TRL)/bin/python -m pytest tests_trl

test-vllm: $(SAMPLED) ## sample with vLLM itself, on a CPU
	OMP_NUM_THREADS=1 $(VENV_VLLM)/bin/python -m pytest tests_vllm

test-verl: $(SCALED) ## the objective in verl, and recipes as runs of it, on a CPU
	OMP_NUM_THREADS=1 $(VENV_VERL)/bin/python -m pytest tests_verl

constraints: ## resolve the committed versions anew (constraints/*.txt)
	$(PYTHON) constraints/resolve.py

lint: $(DEVELOPED) ## ruff, hadolint (Dockerfile) and pyright
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	[ ! -x $(BIN)/hadolint ] || $(BIN)/hadolint Dockerfile  # made for Linux on x86-64 alone
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(INSTALLED) ## sampling against Transformers' generate; time and memory of a step
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/rollout.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step.py

bench-trl: $(COMPARED) ## a training step in turns with one of TRL's
	OMP_NUM_THREADS=1 $(VENV_TRL)/bin/python benchmarks/step.py --against trl

docs: $(INSTALLED) ## the docs as a site in build/site (mkdocs-material)
	$(call INSTALL,$(CONSTRAINTS),$(VENV)) mkdocs-material
	$(BIN)/mkdocs build --strict

clean: ## remove the environments
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest $(VENV_TRL) $(VENV_VLLM) $(VENV_VERL)

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "evenflow needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): pyproject.toml $(CONSTRAINTS) $(CREATED)
	$(call INSTALL,$(CONSTRAINTS),$(VENV)) torch
	$(call INSTALL,$(CONSTRAINTS),$(VENV)) -e .
	@touch $@

$(DEVELOPED): $(INSTALLED)
	$(call INSTALL,$(CONSTRAINTS),$(VENV)) -e '.[dev]'
	@touch $@

# TRL brings versions of its own, hence an environment of its own.
$(COMPARED): pyproject.toml tests_trl/requirements.txt constraints/trl.txt
	$(PYTHON) -m venv --clear $(VENV_TRL)
	$(call INSTALL,constraints/trl.txt,$(VENV_TRL)) torch
	$(call INSTALL,constraints/trl.txt,$(VENV_TRL)) -r tests_trl/requirements.txt -e .
	@touch $@

# verl, too, wants a Transformers of its own.
$(SCALED): pyproject.toml tests_verl/requirements.txt constraints/verl.txt
	$(PYTHON) -m venv --clear $(VENV_VERL)
	$(call INSTALL,constraints/verl.txt,$(VENV_VERL)) torch
	$(call INSTALL,constraints/verl.txt,$(VENV_VERL)) -r tests_verl/requirements.txt -e .
	@touch $@

# What vLLM for CPUs asks for does not work as it stands (constraints/resolve.py): all by name.
$(SAMPLED): pyproject.toml constraints/vllm.txt
	$(PYTHON) -m venv --clear $(VENV_VLLM)
	$(call INSTALL,constraints/vllm.txt,$(VENV_VLLM)) torch
	$(call INSTALL,constraints/vllm.txt,$(VENV_VLLM)) --no-deps -r constraints/vllm.txt
	$(call INSTALL,constraints/vllm.txt,$(VENV_VLLM)) --no-deps -e .
	@touch $@
