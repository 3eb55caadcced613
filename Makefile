# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, the package, then the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
# The tests start many processes: what Python compiles is kept, whatever the environment says.
KEPT := PYTHONDONTWRITEBYTECODE=

.PHONY: demo test lint types check tiny benchmarks papers clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(ONE_THREAD) $(BIN)/keepsight demo --output_path keepsight-demo

# One torch thread per process; three processes keep two cores busy while some wait for disks, servers and children.
test: $(VENV)/.installed
	$(ONE_THREAD) $(KEPT) $(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

check: lint types test

# Rebuilds the weights that ship, from nothing: about 90 minutes on two cores.
tiny: $(VENV)/.installed
	$(BIN)/python -m recipes.tiny_world --output_path out/tiny_world
	$(BIN)/python -m recipes.tiny_world --output_path out/tiny_world --install

benchmarks: $(VENV)/.installed
	$(ONE_THREAD) $(BIN)/python -m benchmarks

papers: $(VENV)/.installed
	$(BIN)/python -m recipes.papers

clean:
	rm -rf $(VENV) keepsight-demo out
