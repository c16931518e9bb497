# kitsnb: from cases to paper. `make help` prints the menu.
#
# Settings, as in `make PROFILE=kits19 KITSNB_DATA=/folder/of/kits19/data`:
#   PROFILE         what runs: a name in notebooks/profiles, as quick, hybrid or kits19, or a file of your own (quick)
#   PYTHON          the Python, 3.11 or later, that makes .venv (python3)
#   LAUNCH          command that starts each training elsewhere, as "srun --cpus-per-task 8 --gpus 1" (this machine)
#   RUNS_AT_A_TIME  trainings at a time (one per GPU, or one per core; behind LAUNCH one)
#   KITSNB_DATA     the folder with KiTS19's case_XXXXX folders; where set, profile labels runs first
#   KITSNB_SLABS    the folder that profile slabs reads (KITSNB_DATA)

PROFILE ?= quick
PYTHON ?= python3
KITSNB_SLABS ?= $(KITSNB_DATA)
# The command reads these from its environment, so no shell ever splits or executes what they hold.
export PROFILE LAUNCH RUNS_AT_A_TIME KITSNB_DATA KITSNB_SLABS
KITSNB := .venv/bin/python -m kitsnb
# JupyterLab reads this below the environment that it lives in, so the user's own settings stay as they are.
VIEWER := .venv/etc/jupyter/labconfig/default_setting_overrides.json

.DEFAULT_GOAL := paper
.PHONY: all paper why article test bench lab site lock help

all: paper  ## the same as paper

paper: .venv/.installed  ## build/PROFILE/paper.pdf; runs only what is out of date (default)
	@if [ -n "$$KITSNB_DATA" ] && [ "$$PROFILE" != labels ]; then $(KITSNB) run labels; fi; $(KITSNB) run "$$PROFILE"

why: .venv/.installed  ## what paper would run now, and why; runs nothing
	@$(KITSNB) run "$$PROFILE" --why

article: .venv/.installed  ## the papers of the published studies, from their data in the repository; trains nothing
	@$(KITSNB) article

test: .venv/.installed  ## the tests
	.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 10

bench: .venv/.installed  ## time of each part beside nibabel, torchio and MONAI
	.venv/bin/python -m pytest tests/benchmarks --import-mode=importlib --benchmark-only --benchmark-columns=median,iqr,rounds -o addopts=

lab: .venv/.installed  ## JupyterLab, where the text notebooks open as notebooks
	.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/00_start.py

site: .venv/.installed  ## build/PROFILE/site: the finished build as a page to share, static files
	@$(KITSNB) site "$$PROFILE"

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -r requirements.lock -e '.[paper,test]'
	mkdir -p $(dir $(VIEWER)) && cp docs/jupyterlab.json $(VIEWER)
	touch $@

# CUDA's own packages stay out: the torch that pip picks pins the ones that it needs, and a CPU build needs none.
lock:  ## write requirements.lock again, from pyproject.toml and today's versions
	$(PYTHON) -m venv --clear build/lock && build/lock/bin/pip install -e '.[paper,test]'
	build/lock/bin/pip freeze --all --exclude-editable | sed -E '/^(pip|nvidia|cuda|triton)[=-]/d; s/\+.*//' > $@.new
	mv $@.new requirements.lock

help:  ## this menu
	@sed -nE 's/^([a-z]+):.*  ## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 15
	@sed -nE 's/^#  (.*)/\1/p' $(MAKEFILE_LIST)
