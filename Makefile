# make demo | test | docs | fuzz | real | studies | bench | lock. Needs python 3.11 or newer, make and git; makes .venv itself.
.DELETE_ON_ERROR:
.PHONY: demo test docs fuzz lint real studies bench lock clean readme

MINUTES ?= 60
PYTHON ?= $(shell command -v python3.11 || command -v python3)
NEUROENC_REAL_DATA ?= ../shared/data
QUIET := --quiet rules host reason
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export HF_HUB_OFFLINE := 1
export NEUROENC_REAL_DATA
export UV_LINK_MODE := copy

demo: .venv/.ready
	@start=$$(date +%s); \
	snakemake $(QUIET) && \
	snakemake --quiet all --report results/demo/report.html && \
	echo && neuroenc results times logs/demo && \
	echo "demo: $$(($$(date +%s) - start)) s in all" && \
	echo && neuroenc results show results/demo/summary.json && \
	echo && echo "Report: results/demo/report.html    Figures and maps: results/demo/sub-*/"

test: .venv/.docs lint
	OMP_NUM_THREADS=1 pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --durations 12

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict # --quiet would hide warnings from --strict too
	@echo "The site: site/index.html"

fuzz: .venv/.ready
	end=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
	NEUROENC_FUZZ=1 pytest tests/properties --hypothesis-show-statistics || exit 1; done

lint: .venv/.ready
	ruff check .
	ruff format --check .
	lint-imports
	codespell neuroenc workflow config tests benchmarks docs *.md
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

real: .venv/.ready
	@neuroenc data check --options config/v4.yaml#dataset --subject 201025 --subject 210325
	@neuroenc data check --options config/haxby.yaml#dataset --subject 1
	snakemake $(QUIET) --configfile config/v4.yaml
	snakemake $(QUIET) --configfile config/haxby.yaml
	snakemake $(QUIET) --configfile config/mtl.yaml
	snakemake $(QUIET) --configfile config/n170.yaml
	python benchmarks/real.py

studies: .venv/.ready
	python benchmarks/studies.py

bench: .venv/.ready
	python benchmarks/ridge.py
	python benchmarks/banded.py
	python benchmarks/attention.py
	python benchmarks/stories.py
	python benchmarks/features.py
	python benchmarks/nsd.py
	python benchmarks/retrieval.py
	python benchmarks/decoding.py
	python benchmarks/simulation.py
	python benchmarks/planning.py
	python benchmarks/similarity.py
	python benchmarks/coverage.py
	python benchmarks/intervals.py
	python benchmarks/distance.py

readme: .venv/.ready
	python benchmarks/readme.py

lock: .venv/.ready
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --all-extras -c envs/constraints.txt -o envs/requirements.txt pyproject.toml
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  --group pyproject.toml:docs -c envs/requirements.txt -o envs/docs.txt
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	  -o envs/uv.txt envs/uv.in

.venv/.ready: envs/requirements.txt envs/uv.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'neuroenc needs python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.txt
	$(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r envs/requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q neuroenc
	touch $@

.venv/.docs: .venv/.ready envs/docs.txt
	$(BIN)/uv pip install --quiet --require-hashes -r envs/docs.txt
	touch $@

clean:
	rm -rf results resources logs site .snakemake
