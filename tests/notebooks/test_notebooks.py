"""The notebooks: whole, with their pictures, and (nightly) run from top to bottom."""

import ast

import nbformat
import pytest
from run_notebooks import NOTEBOOKS, run

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_five():
    assert [path.stem for path in NOTEBOOKS] == [
        *("explain_and_search", "finetune_head", "official_weights", "pretrain", "quickstart")
    ]


@by_notebook
def test_the_stored_outputs_are_those_of_a_whole_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        ast.parse("" if cell.source.startswith("%%") else cell.source)
        assert all(output.output_type != "error" for output in cell.outputs)
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", ())}
    assert path.stem == "official_weights" or kinds & {"image/png", "image/jpeg"}
    text = path.read_text()
    assert not [place for place in ("/tmp/", "/home/", "/root/", "site-packages", "/src/farl_hf") if place in text]  # noqa: S108
    assert path.stat().st_size < 600_000


@pytest.mark.nightly
@by_notebook
def test_it_runs_from_top_to_bottom(path, tmp_path):
    run(path, tmp_path)
