# kitsnb: from cases to paper. `make help` prints the menu.
#
# Settings, as in `make PROFILE=kits19 KITSNB_DATA=/folder/of/kits19/data`:
#   PROFILE      what runs: a name in notebooks/profiles, as quick, hybrid or kits19, or a file of your own (quick)
#   PYTHON       the Python, 3.11 or later, that makes .venv (python3)
#   LAUNCH       command that starts each training elsewhere, as "srun --cpus-per-task 8 --gpus 1 --mem 24G" (this machine)
#   RUNS_AT_A_TIME  trainings at a time (one a GPU, or one a core)
#   KITSNB_DATA  the folder with KiTS19's case_XXXXX folders; where set, profile labels runs first

PROFILE ?= quick
PYTHON ?= python3
PROFILES := $(if $(KITSNB_DATA),$(filter-out $(PROFILE),labels)) $(PROFILE)
RUNS := $(if $(LAUNCH),--launch "$(LAUNCH)") $(if $(RUNS_AT_A_TIME),--runs-at-a-time $(RUNS_AT_A_TIME))
# JupyterLab reads this below the environment that it lives in, so the user's own settings stay as they are.
VIEWER := .venv/etc/jupyter/labconfig/default_setting_overrides.json

.DEFAULT_GOAL := paper
.PHONY: all paper why watch test bench lab site lock clean help

all: paper  ## the same as paper

paper: .venv/.installed  ## build/PROFILE/paper.pdf; runs only what is out of date (default)
	for profile in $(PROFILES); do .venv/bin/python -m kitsnb run $$profile $(RUNS) || exit; done

why: .venv/.installed  ## what paper would run now, and why; runs nothing
	.venv/bin/python -m kitsnb run $(PROFILE) --why

watch: .venv/.installed  ## the training runs of PROFILE, live, from another terminal
	.venv/bin/python -m kitsnb watch $(PROFILE)

test: .venv/.installed  ## the tests
	.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 10

bench: .venv/.installed  ## time and memory beside the peers, into the README's table
	.venv/bin/python -m kitsnb run benchmarks --force $(if $(KITSNB_DATA),-p benchmarks.folder=$(KITSNB_DATA))

lab: .venv/.installed  ## JupyterLab, where the text notebooks open as notebooks
	.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/00_start.py

site: .venv/.installed  ## build/PROFILE/site: the finished build as a page to share, static files
	.venv/bin/python -m kitsnb site $(PROFILE)

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -r requirements.lock -e '.[test]'
	.venv/bin/jupytext-config --settings-file $(VIEWER) set-default-viewer python
	touch $@

# CUDA's own packages stay out: the torch that pip picks pins the ones that it needs, and a CPU build needs none.
lock:  ## requirements.lock anew, from pyproject.toml and today's versions
	$(PYTHON) -m venv --clear build/lock && build/lock/bin/pip install -e '.[test]'
	build/lock/bin/pip freeze --all --exclude-editable | sed -E '/^(pip|nvidia|cuda|triton)[=-]/d; s/\+.*//' > $@.new
	mv $@.new requirements.lock

clean:  ## delete build/PROFILE
	rm -rf build/$(basename $(notdir $(PROFILE)))

help:  ## this menu
	@sed -nE 's/^([a-z]+):.*  ## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 15
	@sed -nE 's/^#  (.*)/\1/p' $(MAKEFILE_LIST)
