import sys
from pathlib import Path

import pytest
from face_rows import make_face_dataset

# Where the scripts find their siblings: the folder of a script that is started is on the path.
sys.path += [str(Path(__file__).parents[2] / "examples" / folder) for folder in ("face_generator", "studies")]


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """A data set of a few toy faces, as `save_to_disk` writes it."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("faces")
    splits = datasets.DatasetDict(train=make_face_dataset(8), validation=make_face_dataset(3, first_index=100))
    splits.save_to_disk(str(folder))
    return folder
