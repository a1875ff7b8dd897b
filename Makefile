# Everything sets itself up: `make demo` and `make test` need Python 3.11, make and a compiler, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test faults venv model lint docs clean

demo: venv
	$(BIN)/expunge demo

# The tests run without a network: the embedded model must be in the user's cache before they start.
test: model
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The whole fault suite, an hour or two: it prints the counts of all trials, writes them to a page, and fails if one did not hold.
# After it the other tests that take too long for `make test`.
faults: venv
	EXPUNGE_FAULTS_PAGE=docs/results/faults.md $(BIN)/python -m pytest tests/faults -m "long or not long" -n 2 --dist loadfile
	$(BIN)/python -m pytest --ignore=tests/faults -m long -n 2 --dist loadfile

model: venv
	$(BIN)/python -m expunge.models.embedded >/dev/null

lint: venv
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyrefly check && $(BIN)/lint-imports

# Warnings are errors. The first build runs the notebook, a few minutes.
docs: model .venv/.docs
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

.venv/.docs: pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

venv: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("expunge needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,lm-eval,toxicity,gepa,sign,quantised]'
	touch $@

clean:
	rm -rf .venv
