# Everything runs from .venv with the versions of requirements.lock.
#
# Variables:  PYTHON       the Python that .venv is made from (>= 3.11)
#             TORCH_INDEX  one more package index, for another build of torch
#             PORT         where `make ui` listens
#             ARGS         more arguments for pytest

PYTHON ?= python3
TORCH_INDEX ?=
PORT ?= 5000
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
DEMOS := membership memorization properties backdoors

# rules of the workflow call `whatelse` and `snakemake` by name
export PATH := $(CURDIR)/$(BIN):$(PATH)
# neither MLflow nor DVC may report home
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo $(DEMOS:%=demo-%) test test-workflow test-cluster lint format ui bench docs lock clean distclean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Without an NVIDIA GPU, spare 2 GB at the first call:"
	@echo "  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu"

install: $(READY)  ## make .venv with the locked versions (the others do so too)

demo: $(READY)  ## every question's demo on embedded data; one report, and MLflow
	@$(BIN)/whatelse run $(DEMOS:%=config/studies/%-digits.yaml)

demo-membership: $(READY)  ## membership inference on handwritten digits, under 90 s
	@$(BIN)/whatelse run config/studies/membership-digits.yaml

demo-memorization: $(READY)  ## digits hidden in models and read out again, under 60 s
	@$(BIN)/whatelse run config/studies/memorization-digits.yaml

demo-properties: $(READY)  ## what participants and layers give away of digits, under 60 s
	@$(BIN)/whatelse run config/studies/properties-digits.yaml

demo-backdoors: $(READY)  ## one participant rewrites a model of digits, under 60 s
	@$(BIN)/whatelse run config/studies/backdoors-digits.yaml

test: $(READY)  ## unit and property tests
	@$(BIN)/pytest $(ARGS)

test-workflow: $(READY)  ## Snakemake, DVC and MLflow end to end
	@$(BIN)/pytest -m workflow $(ARGS)

test-cluster: $(READY)  ## on a SLURM of its own (needs slurm-wlm, munge)
	@$(BIN)/pytest -m cluster -n 3 $(ARGS)

lint: $(READY)  ## what pre-commit and CI check; changes nothing
	@$(BIN)/pre-commit run --all-files

format: $(READY)  ## mend what ruff and snakefmt can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile workflow

ui: $(READY)  ## open the runs in MLflow on http://127.0.0.1:5000 (PORT=...)
	@test -f mlflow.db || { echo "error: no runs yet; make demo makes some" >&2; exit 2; }
	@$(BIN)/mlflow server --backend-store-uri sqlite:///mlflow.db \
		--host 127.0.0.1 --port $(PORT) --workers 1

bench: $(READY)  ## models trained a second, stacked against loop; needs an idle machine
	@$(BIN)/python benchmarks/ensemble.py

lock:  ## resolve requirements.lock anew, keeping what can stay (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--extra dev --no-annotate --no-header pyproject.toml -o requirements.lock
	@sed -i -E "/^(nvidia|cuda|triton)/d; s/ (and|;) sys_platform == 'linux'$$//" \
		requirements.lock

docs: $(READY)  ## check the studies; write the schema that documents their grammar
	@$(BIN)/whatelse check config/studies/*.yaml --schema config/schema.json

clean:  ## remove what the workflow made; downloads and .venv stay
	rm -rf results logs benchmarks/jobs .snakemake report report.html
	rm -rf mlflow.db mlflow.db-* mlflow.db.lock mlartifacts

distclean: clean  ## remove downloads, .venv and caches as well
	rm -rf resources .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last: an interrupted installation is taken up again.
$(READY): requirements.lock pyproject.toml | $(BIN)/pip
	@echo "Installing the locked packages into .venv: once, some minutes ..."
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: $(PYTHON) is not Python 3.11 or newer; name one:" \
			"make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments;" \
			"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv --clear .venv
