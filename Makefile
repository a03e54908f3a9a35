PYTHON ?= python3
BIN = .venv/bin
RUN ?= runs/demo

# Three test images as files, NUMBER-is-a-LABEL.png.
define DIGITS
import sys, numpy as np
from PIL import Image
from sklearn.datasets import load_digits
real, run = load_digits(), sys.argv[1]
for i in np.load(f"{run}/splits.npz")["test"][:3]:
    pixels = np.rint(real.images[i] * (255 / 16)).astype(np.uint8)
    Image.fromarray(pixels).save(f"{run}/photos/{i}-is-a-{real.target[i]}.png")
endef
export DIGITS

.PHONY: demo test chromium proof lint docs pictures bench

# A supernet trained, searched, its best architecture retrained and asked, on real images, in 3 minutes.
demo: .venv/installed
	$(BIN)/python train_supernet.py $(RUN) --config recipes/digits.yaml
	$(BIN)/python search.py $(RUN)
	$(BIN)/python retrain.py $(RUN)
	mkdir -p $(RUN)/photos
	$(BIN)/python -c "$$DIGITS" $(RUN)
	@echo
	@$(BIN)/python -m supernet.report $(RUN) --verdict
	$(BIN)/python -m supernet.predict $$(ls $(RUN)/retrain/*/model.onnx | head -n 1) $(RUN)/photos
	@$(BIN)/python -m supernet.report $(RUN)

test: .venv/installed chromium
	$(BIN)/python -m pytest -q -n 2

# The browser that the tests of the page run in: where it is missing and may be installed.
chromium:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; \
	else echo "no chromium: the tests of the page are skipped"; fi

# Sweeps and small forms of benchmarks/gpu.sh that take minutes.
proof: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m proof

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of README.md and docs/; a link that leads nowhere fails.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet -f docs/site/mkdocs.yml
	@echo "build/site; to read it: $(BIN)/python -m http.server --bind 127.0.0.1 -d build/site"

# The pictures of README.md, of the run that make demo leaves.
pictures: .venv/installed
	$(BIN)/python benchmarks/pictures.py $(RUN)

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
