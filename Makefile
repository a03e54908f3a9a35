PYTHON ?= python3
BIN = .venv/bin
RUN ?= runs/demo

.PHONY: demo test lint bench

# A supernet trained, searched and its best architecture retrained, on real images, in 3 minutes.
demo: .venv/installed
	$(BIN)/python train_supernet.py $(RUN) --config recipes/digits.yaml
	$(BIN)/python search.py $(RUN)
	$(BIN)/python retrain.py $(RUN)

test: .venv/installed
	$(BIN)/python -m pytest -q -n 2

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The figures of docs/results.md that need the benchmarks' tables; about half an hour a core.
bench: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/sample_efficiency.py --jobs 2
	$(BIN)/python benchmarks/search_overhead.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@
