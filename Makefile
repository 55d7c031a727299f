# make demo · make test · make check · make soak · make docs · make docs-notebooks · make bench: each builds .venv when missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test test-slow soak check docs docs-notebooks walk bench clean

# torch first, pinned to the tested build: an unpinned torch would bring gigabytes of CUDA packages
$(STAMP): requirements.txt constraints.txt packages/*/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -r requirements.txt
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/screen-cli run examples/demo.toml --run-dir demo-run

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

# random kills and drawn inputs, for a night: nothing may be lost, repeated, hung, wrongly blamed or left behind
soak: $(STAMP)
	$(BIN)/python tests/soak/kills.py --kills 1000
	$(BIN)/python tests/soak/readers.py --minutes 10

check: $(STAMP)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy packages/phon-wigner/src packages/al-committee/src packages/screen-cli/src packages/sdnnff-calc/src examples/screen-morse/src
	$(BIN)/lint-imports
	$(BIN)/codespell

# the site, in site/index.html: every warning, and every link and anchor that leads nowhere, is an error
docs: $(STAMP)
	$(BIN)/screen-cli init --reference > docs/reference/settings.md
	$(BIN)/python -m sdnnff_calc.cli.settings_reference > docs/reference/training-settings.md
	rm -rf docs/reference/api
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

# the same with the tutorials run, and what they print on their pages: minutes
docs-notebooks: $(STAMP)
	DOCS_NOTEBOOKS=force $(BIN)/python -m sphinx -W --keep-going -q -b html docs site

# README, start pages, how-tos and tutorials by copy and paste, with the time of each
walk: $(STAMP)
	$(BIN)/python tests/walk/pages.py

bench: $(STAMP)
	failed=0; for script in benchmarks/scripts/*.py; do echo "== $$script"; $(BIN)/python $$script || failed=1; done; exit $$failed

clean:
	rm -rf $(VENV) demo-run site jupyter_execute docs/reference/api
