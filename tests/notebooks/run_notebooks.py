"""Runs the notebooks and writes their outputs into them.

    python tests/notebooks/run_notebooks.py            # all
    python tests/notebooks/run_notebooks.py quickstart

Each runs in an empty folder, so that a notebook pasted anywhere works.
"""

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run(path, folder):
    """The notebook with the outputs of a run from top to bottom, without times and names of folders."""
    notebook = nbformat.read(path, as_version=4)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = list(_kept(cell.outputs, str(folder)))
    return notebook


def _kept(outputs, folder):
    """Outputs to read: without warnings, progress bars, and the paths of the machine; texts in a row are one."""
    text = None
    for output in outputs:
        if output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue
        if output.output_type == "stream":
            output["text"] = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output["text"].replace(f"{folder}/", ""))
            if text is not None:
                text["text"] += output["text"]
                continue
        text = output if output.output_type == "stream" else None
        yield output


def main(names):
    for path in NOTEBOOKS:
        if not names or path.stem in names:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(run(path, folder), path)
            print(f"{path.stem}: {time.monotonic() - start:.0f} s, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
