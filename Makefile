# Everything builds .venv from constraints.txt if it is missing or stale; afterwards no network is needed.
PYTHON ?= python3
BIN := .venv/bin
# As `pip install perpixel` leaves a machine: Python does not find torch (tests/without_torch/sitecustomize.py).
WITHOUT_TORCH := OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/tests/without_torch

.PHONY: help test core check slow llms dist core-wheel oracles review benchmarks clean

help:
	@echo "make test        tests, about nine minutes on two cores; those of the core once more with torch hidden"
	@echo "make core        all tests of the core with torch hidden, fuzzers, kills and real data too"
	@echo "make check       style and types"
	@echo "make slow        what is too slow for every day: kills at every touch of the disk, fuzzers of pictures, annotations and archives, 28,000 mutated files"
	@echo "make llms        llms.txt: all verbs and flags as --help has them"
	@echo "make dist        a wheel and an sdist in dist/; needs the network for the build environment"
	@echo "make core-wheel  installs that wheel without torch into an environment of its own, and runs the tests of the core on it"
	@echo "make oracles     tests against cityscapesScripts and readers of labels, which need other versions: builds .oracles first"
	@echo "make review      trains the review's networks on the drawn data set scenes; leaves review/"
	@echo "make benchmarks  counting, start-up, CRF and AP, and with DATA=folder CamVid and prediction"

.venv/ready: pyproject.toml constraints.txt
	@echo "perpixel: building .venv (about 6 GB with torch, some minutes; only now and when versions change)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "perpixel needs Python 3.11 or later; use make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable ".[torch,weights,export,raster,video,serve,dev]"
	@touch $@

# One thread for each of as many processes as there are cores: the networks of tests are tiny.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder
	$(WITHOUT_TORCH) $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not thorough"

core: .venv/ready
	$(WITHOUT_TORCH) $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

slow: .venv/ready
	$(BIN)/pytest -q -m slow

llms: .venv/ready
	$(BIN)/python docs/llms.py > llms.txt

.build/ready: Makefile
	$(PYTHON) -m venv .build
	.build/bin/pip install --quiet --disable-pip-version-check build==1.6.1
	@touch $@

dist: .build/ready
	rm -rf dist
	.build/bin/python -m build --outdir dist

# The tests import the installed package: pytest puts tests/ on the path, and not the folder of the sources.
core-wheel: dist
	rm -rf .core-wheel
	$(PYTHON) -m venv .core-wheel
	.core-wheel/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/perpixel-*.whl \
	  pytest pytest-xdist hypothesis pycocotools scikit-image
	cd /tmp && $(CURDIR)/.core-wheel/bin/perpixel --version
	OMP_NUM_THREADS=1 .core-wheel/bin/pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not thorough"

.oracles/ready: Makefile
	$(PYTHON) -m venv .oracles
	.oracles/bin/pip install --quiet --disable-pip-version-check 'numpy<2.4' cityscapesScripts==2.3.0 labelme==6.3.1 \
	  label-studio-converter==0.0.59 datumaro==1.13.12 supervision==0.31.2 opencv-python-headless
	@touch $@

oracles: .venv/ready .oracles/ready
	CITYSCAPES_SCRIPTS_PYTHON=$(CURDIR)/.oracles/bin/python LABEL_READERS_PYTHON=$(CURDIR)/.oracles/bin/python \
	  $(BIN)/pytest -q tests/datasets/test_cityscapes.py tests/judging/test_evaluate_cityscapes.py tests/formats/test_convert.py

review: .venv/ready
	$(BIN)/perpixel review --out review
	@echo "perpixel: see review/report.html, review/table.md and review/pictures.png"

benchmarks: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[benchmarks]"
	$(BIN)/python benchmarks/counting.py
	$(BIN)/python benchmarks/labels.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/crf.py
	$(BIN)/python benchmarks/bootstrap.py
	$(BIN)/python benchmarks/coco.py
ifdef DATA
	$(BIN)/python benchmarks/camvid.py $(DATA) --out runs/benchmark
	$(BIN)/python benchmarks/predict.py runs/benchmark/ours $(DATA)/images/val
	$(BIN)/python benchmarks/check.py $(DATA)
endif
ifdef CITYSCAPES_SCRIPTS_PYTHON
	$(BIN)/python benchmarks/cityscapes.py $(CITYSCAPES_SCRIPTS_PYTHON)
endif

clean:
	rm -rf .venv .build .core-wheel .oracles build dist *.egg-info
