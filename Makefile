# make run   reproduce the experiment and print its outcomes
# make test  the checks and the tests
# make lint  the static checks alone
# Both bootstrap .venv from constraints.txt first; the stamp is written last, so an interrupted install starts again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

# Nothing reaches the network after the install.
export HF_HUB_OFFLINE := 1
export HF_DATASETS_OFFLINE := 1
export DVC_NO_ANALYTICS := 1
export TOKENIZERS_PARALLELISM := false
export OMP_NUM_THREADS ?= 1
# uv does not read pip's configuration of local wheels.
ifneq ($(PIP_FIND_LINKS),)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

.PHONY: run test lint clean

run: $(STAMP)
	$(BIN)/mergelab run

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check stages tests
	$(BIN)/ruff format --check stages tests
	$(BIN)/mypy
	$(BIN)/mergelab check

$(STAMP): constraints.txt pyproject.toml
	@rm -f $(STAMP)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[test]'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'; \
	fi
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .mergelab .mypy_cache .ruff_cache .pytest_cache
