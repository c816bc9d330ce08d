.PHONY: help style quality test figures
help:     ## show this list
	@grep -E '^[a-z]+: +##' Makefile | sed 's/: *## /\t/'
style:    ## format and mend what can be mended
	ruff format . && ruff check --fix .
quality:  ## what the gate checks
	ruff format --check . && ruff check .
test:     ## the whole suite
	pytest
figures:  ## size of the code, and how much of it runs for a photo and for a step
	python -m benchmarks.house
