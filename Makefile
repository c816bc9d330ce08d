.DEFAULT_GOAL := help
.PHONY: help style quality docs test test-fast test-nightly figures
help:          ## show this list
	@grep -E '^[a-z-]+: +##' Makefile | sed 's/: *## /\t/'
style:         ## format and mend what can be mended
	ruff format . && ruff check --fix .
quality:       ## format, lint and types, as the gate checks them
	ruff format --check . && ruff check . && mypy src
docs:          ## the site, into build/site
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
test:          ## the gate's tests
	pytest
test-fast:     ## tests without trainings, launched processes and the longest ones
	pytest -m "not slow and not nightly"
test-nightly:  ## what takes longer: fuzzing, clusters, kills
	pytest -m nightly
figures:       ## size of the house: files on a path, lines, arguments, type errors
	python -m benchmarks.house
