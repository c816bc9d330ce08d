"""Imports the common tests of Transformers, and stands in for what their source distribution lacks.

They are imported as the package `transformers_tests`, because `tests` is also the name of our own folder. Where they
were not fetched, importing a name from here skips the test file.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
from fetch import RELEASE, VARIABLE, is_fetched, tests_root
from skimage import data

_MIXINS = {
    "test_backbone_common": ("BackboneTesterMixin",),
    "test_configuration_common": ("ConfigTester",),
    "test_image_processing_common": (
        *("ImageProcessingTester", "ImageProcessingTestMixin", "PostProcessSemanticSegmentationTestMixin"),
    ),
    "test_modeling_common": ("ModelTesterMixin",),
    "test_processing_common": ("ProcessorTesterMixin",),
    "test_tokenization_common": ("TokenizerTesterMixin",),
}
_MODULE_OF = {name: module for module, names in _MIXINS.items() for name in names}

# Settings of every configuration, with values that are no defaults.
COMMON_SETTINGS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["FaRLModel"],
    "id2label": {0: "label"},
    "label2id": {"label": 0},
    "problem_type": "regression",
}


class ExportTesterMixin:
    """Tests of exporting; our own are in `tests/export`."""


class GenerationTesterMixin:
    """Tests of generation; no model of ours generates."""


def local_photo(url: str) -> str:
    """Any picture from the Hub is the astronaut of scikit-image; other files are not replaced."""
    return str(Path(data.data_dir) / "astronaut.png") if url.endswith((".png", ".jpg")) else url


def _register(name, **content):
    sys.modules[name] = module = ModuleType(name)
    module.__path__ = []
    module.__dict__.update(content)
    return module


def _register_package():
    package = _register("transformers_tests")
    package.__path__ = [str(tests_root() / "tests")]
    for folder in ("exporters", "generation", "utils"):
        _register(f"transformers_tests.{folder}")
    _register("transformers_tests.exporters.test_export", ExportTesterMixin=ExportTesterMixin)
    _register("transformers_tests.generation.test_utils", GenerationTesterMixin=GenerationTesterMixin)
    _register("transformers_tests.utils.test_configuration_utils", config_common_kwargs=COMMON_SETTINGS)
    _register("fetch_hub_objects_for_ci", url_to_local_path=local_photo)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(name)
    if not is_fetched():
        pytest.skip(
            f"The common tests of Transformers {RELEASE} are not in {tests_root()}: run `python "
            f"tests/transformers_suite/fetch.py`, or set {VARIABLE} to an unpacked source distribution.",
            allow_module_level=True,
        )
    if "transformers_tests" not in sys.modules:
        _register_package()
    # One of them looks for a package `transformers` among the tests, and does not use it.
    with patch("transformers.utils.direct_transformers_import"):
        module = importlib.import_module(f"transformers_tests.{_MODULE_OF[name]}")
    if hasattr(module, "get_tests_dir"):  # the distribution has no fixtures
        module.get_tests_dir = lambda: str(Path(__file__).parent)
    return getattr(module, name)
