# Two commands for users. Everything else is `just` (see CONTRIBUTING.md).
.PHONY: demo test setup
.DELETE_ON_ERROR:

VENV := .venv
READY := $(VENV)/.ready
# Whoever starts make from another virtual environment still gets this one.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

# See one order live from request to notify, on a temporary system.
demo: setup
	@$(VENV)/bin/shoudan demo

# Run the whole check: what CI runs.
test: setup
	@$(VENV)/bin/just --justfile justfile check

setup: $(READY)

# Only what decides the environment is listed, so a second run costs nothing.
$(READY): requirements.lock pyproject.toml protos/pyproject.toml tools/setup.sh
	@sh tools/setup.sh $(VENV)
	@touch $@
