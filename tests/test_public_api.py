"""The inventory of public names: adding or removing one is a decision, made in public_api.json."""

import importlib
import json
from pathlib import Path

import pytest

import farl_hf

INVENTORY = json.loads((Path(__file__).parent / "public_api.json").read_text())


def test_the_inventory_is_complete():
    assert list(farl_hf.__all__) == INVENTORY["farl_hf"]


@pytest.mark.parametrize("name", INVENTORY["farl_hf"])
def test_every_name_resolves_to_something_documented(name):
    thing = getattr(farl_hf, name)
    assert thing.__name__ == name
    assert thing.__doc__
    assert name in dir(farl_hf)


@pytest.mark.parametrize("module", sorted(set(INVENTORY) - {"farl_hf"}))
def test_packages_offer_what_the_inventory_says(module):
    package = importlib.import_module(module)
    assert sorted(package.__all__) == INVENTORY[module]
    assert all(hasattr(package, name) for name in package.__all__)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'FaRL'"):
        _ = farl_hf.FaRL


def test_errors_refine_builtin_ones():
    refined = {
        "ConversionError": ValueError,
        "DatasetWriteError": OSError,
        "FileWriteError": OSError,
        "InvalidArgumentError": ValueError,
        "InvalidDatasetError": ValueError,
        "InvalidFaceIndexError": ValueError,
        "InvalidFaceInputError": ValueError,
        "InvalidTextError": ValueError,
        "MissingExtraError": ImportError,
        "DownloadError": OSError,
        "NotACheckpointError": OSError,
        "NotDownloadedError": FileNotFoundError,
        "UnknownNameError": ValueError,
        "UnreadablePhotoError": OSError,
        "UnreadableVideoError": OSError,
        "UnsuitableModelError": ValueError,
        "UploadError": OSError,
    }
    for name, builtin in refined.items():
        assert issubclass(getattr(farl_hf, name), (builtin, farl_hf.FaRLError))
        assert issubclass(getattr(farl_hf, name), builtin)
