# Two commands are enough: `make all` runs every notebook and makes every figure, `make test` proves that all is
# right. Then `make lab` opens the notebooks.
# Settings: make all PROFILE=demo SUBJECT=1 SEED=0 encoder.n_folds=5

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# The project's active conda environment is used where there is one, otherwise .venv is made here.
ifeq ($(CONDA_DEFAULT_ENV),fmri-utils)
PYTHON := "$(CONDA_PREFIX)/bin/python"
READY := build/conda.ready
else
PYTHON := .venv/bin/python
READY := .venv/ready
endif

# Every NAME=value given to make goes to the pipeline, which refuses the names it does not know. It arrives as it was given:
# $(value) keeps make from expanding it, single quotes keep the shell from it.
quoted = '$(subst ','\'',$(1))'
SETTINGS = $(foreach v,$(sort $(filter-out MAKEFLAGS MAKEOVERRIDES GNUMAKEFLAGS BASE_PYTHON,$(COMMAND_LINE_NAMES))),$(call quoted,$(v)=$(value $(v))))
COMMAND_LINE_NAMES := $(foreach v,$(.VARIABLES),$(if $(filter command% line,$(origin $(v))),$(v)))
# A folder, or a copy that JupyterLab named 01_x-Copy1.py, is no notebook of the collection.
SOURCES := $(filter notebooks/%.py,$(wildcard notebooks/[0-9][0-9]_*.py))
NOTEBOOKS := $(patsubst notebooks/%.py,%,$(foreach p,$(SOURCES),$(if $(findstring -,$p)$(wildcard $p/.),,$p)))
NUMBERS := $(foreach n,$(NOTEBOOKS),$(firstword $(subst _, ,$(n))))
BASE_PYTHON ?= python3
export HF_HUB_OFFLINE ?= 1
export PYTHONHASHSEED := 0

.PHONY: help all smoke plan report html test test-rounding test-long verify compare audit lab lint sync weights nsd-download lafite-import lafite-train study sweep bench pretrain clean env $(NUMBERS) $(NOTEBOOKS)

help: ## this help
	@echo "fMRI to picture, and what one voxel does to it"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s%s\n", $$1, $$2 }' Makefile
	@echo "  make 03              notebook 03 and what it needs (one target per notebook: $(NUMBERS))"
	@echo; echo "Settings: PROFILE=smoke|demo|nsd SUBJECT=1..8 SEED=n DEVICE=auto|cpu|cuda, or a profile key such as encoder.n_folds=5"

all: $(READY) ## run every notebook that is not up to date, make every figure
	@$(PYTHON) -m pipeline all $(SETTINGS)

smoke: $(READY) ## the same on tiny data, in about three minutes
	@$(PYTHON) -m pipeline all PROFILE=smoke $(SETTINGS)

plan: $(READY) ## what would run, and why
	@$(PYTHON) -m pipeline plan $(SETTINGS)

report: $(READY) ## Snakemake's report of what has run: build/report.html
	@$(PYTHON) -m pipeline report $(SETTINGS)

html: $(READY) ## what `make all` ran as pages without any need of a network: build/html/index.html
	@$(PYTHON) -m pipeline.pages $(SETTINGS)

$(NUMBERS): $(READY)
	@$(PYTHON) -m pipeline $@ $(SETTINGS)

$(NOTEBOOKS): $(READY)
	@$(PYTHON) -m pipeline $(firstword $(subst _, ,$@)) $(SETTINGS)

test: $(READY) ## unit tests, reference tensors, notebook pairs, all notebooks on tiny data
	@$(PYTHON) -m pytest -n 2 --no-loadscope-reorder

NUMERICAL := areas comparisons encoders encoders_losses lafite lafite_processes lafite_reference lafite_winograd search
NUMERICAL += perturbation perturbation_images perturbation_refit perturbation_statistics
OLD_PROCESSOR := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem

test-rounding: $(READY) ## the numerical tests with the instructions of an old processor, which round differently
	@$(OLD_PROCESSOR) $(PYTHON) -m pytest -n 2 $(NUMERICAL:%=tests/test_%.py)

test-long: $(READY) ## long: the real data's path on stand-ins of its formats, 30 kills, Slurm, an imitated GPU
	@$(PYTHON) -m pytest -m slow

verify: $(READY) ## is any figure or derived file changed by hand, missing or out of date?
	@$(PYTHON) -m pipeline.verify

compare: $(READY) ## two runs side by side, within tolerance: A=figures B=folder of another run
	@$(PYTHON) -m pipeline.compare $(call quoted,$(value A)) $(call quoted,$(value B))

audit: ## are there advisories against the pinned packages? (needs PyPI; an environment of its own)
	@$(BASE_PYTHON) -m venv build/audit && build/audit/bin/python -m pip install -q pip-audit
	@build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

lab: $(READY) ## open the collection in JupyterLab (explore.ipynb is the one to play with); LAB="--allow-root --no-browser"
	@$(PYTHON) -m jupyter lab $(LAB) notebooks

lint: $(READY) ## ruff and codespell
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m codespell_lib

sync: $(READY) ## rebuild the .ipynb twins of the .py notebooks
	@$(PYTHON) -m pipeline.pairing notebooks

weights: $(READY) ## fetch CLIP and the networks that score pictures: PROFILE=nsd (asks first)
	@HF_HUB_OFFLINE=0 $(PYTHON) -m pipeline.download.network_weights $(SETTINGS)

nsd-download: $(READY) ## fetch one subject of the real NSD (asks for consent first)
	@$(PYTHON) -m pipeline.download $(SETTINGS)

lafite-import: $(READY) ## convert a released LAFITE checkpoint: FILE=x.pkl
	@$(PYTHON) -m fmri_utils.lafite.released.convert $(SETTINGS)

lafite-train: $(READY) ## train LAFITE on the stimuli of an NSD folder (PROFILE=nsd), or on IMAGES=...
	@$(PYTHON) -m pipeline.train_lafite $(SETTINGS)

study: $(READY) ## what takes hours: seeds, subjects, calibration (goes on where it stopped); ENGINE=local|slurm
	@$(PYTHON) -m pipeline.studies $(SETTINGS)

sweep: $(READY) ## SUBJECTS="1 2" AREAS="nsdgeneral V1" SEEDS="0 1" ENGINE=local|slurm: many runs, one table
	@$(PYTHON) -m pipeline.sweep $(SETTINGS)

bench: $(READY) ## time and memory of every notebook and of the costly steps, into benchmarks/*.json
	@for script in $(filter-out %/__init__.py,$(wildcard benchmarks/*.py)); do echo $$script; $(PYTHON) $$script || exit 1; done

pretrain: $(READY) ## train the demo weights again (hours; resumes where it stopped)
	@$(PYTHON) -m simulated_nsd.training $(SETTINGS)

clean: ## remove runs, derived and simulated data (figures and pretrained weights stay)
	rm -rf runs data/derived data/nsd-simulated build .snakemake

env: $(READY) ## make the environment only

.venv/ready: pyproject.toml constraints.txt
	@echo "making the environment in .venv (5.5 GB, a few minutes)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing .venv && VIRTUAL_ENV="$(CURDIR)/.venv" uv pip install -q --compile-bytecode -c constraints.txt -e ".[dev]"; \
	else \
	  $(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; this is " + sys.version.split()[0])' && \
	  $(BASE_PYTHON) -m venv .venv && .venv/bin/python -m pip install -q -c constraints.txt -e ".[dev]"; \
	fi
	@touch $@

build/conda.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m pip install -q -c constraints.txt -e ".[dev]"
	@mkdir -p $(@D) && touch $@
