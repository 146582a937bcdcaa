# `make` lists the targets. Everything runs in .venv, which the first target that needs it makes.
# PYTHON=/path/to/python3 chooses the interpreter (3.10 to 3.13).

SHELL := /bin/sh
PY := .venv/bin/python
SOURCES := effps_solo tests tools datasets train_net.py setup.py
WORKERS ?= 2
PYTEST := $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile
QUICKSTART := configs/quickstart/effps_lite0_solov2
DATA_ROOT = $${DETECTRON2_DATASETS:-datasets}
DEMO_IMAGES := 12

.DEFAULT_GOAL := help
.PHONY: help venv venv-dev scenes demo demo-long test test-all lint format docs clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv:  ## make or complete .venv (PYTHON=, DETECTRON2=source, TORCH_INDEX_URL=)
	@sh tools/setup_env.sh

venv-dev:  ## the same with the tools for tests and checks
	@sh tools/setup_env.sh --dev

scenes: venv  ## generate the street scenes of the quick start
	$(PY) datasets/generate_street_scenes.py

demo: scenes  ## train on generated scenes, evaluate, draw panoptic pictures (minutes); goes on where it was stopped
	$(PY) train_net.py --config-file $(QUICKSTART).yaml --resume
	$(call draw,$(QUICKSTART).yaml,output/quickstart)

demo-long: scenes  ## the same with an hour of training
	$(PY) train_net.py --config-file $(QUICKSTART)_long.yaml --resume
	$(call draw,$(QUICKSTART)_long.yaml,output/quickstart_long)

# $(call draw,CONFIG,OUTPUT_DIR): overlays of images that training never saw
define draw
	$(PY) -m effps_solo predict --config-file $(1) --output $(2)/overlays \
	    --input $$(ls $(DATA_ROOT)/street_scenes/leftImg8bit/val/*/*.png | head -n $(DEMO_IMAGES)) \
	    --opts MODEL.WEIGHTS $(2)/model_final.pth
	@echo "Pictures: $(2)/overlays/*_overlay.png"
endef

test: venv-dev  ## the fast tests
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

test-all: venv-dev  ## every test
	$(PYTEST) $(PYTEST_FLAGS)

lint: venv-dev  ## formatting, style, imports between rooms, and types
	$(PY) -m ruff format --check --quiet $(SOURCES) || { $(PY) -m ruff format --diff $(SOURCES); exit 1; }
	$(PY) -m ruff check --quiet $(SOURCES)
	.venv/bin/lint-imports
	$(PY) -m mypy

docs: venv-dev  ## build the documentation into output/site
	$(PY) -m mkdocs build --quiet

format: venv-dev  ## rewrite the sources in the common format
	$(PY) -m ruff check --quiet --fix --select I $(SOURCES)
	$(PY) -m ruff format --quiet $(SOURCES)

clean:  ## remove caches and build files; .venv, data sets and output stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find effps_solo tests tools datasets -name __pycache__ -type d -prune -exec rm -rf {} +
