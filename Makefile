.PHONY: help style quality test
help:     ## show this list
	@grep -E '^[a-z]+: +##' Makefile | sed 's/: *## /\t/'
style:    ## format and mend what can be mended
	ruff format . && ruff check --fix .
quality:  ## what the gate checks
	ruff format --check . && ruff check .
test:     ## the whole suite
	pytest
