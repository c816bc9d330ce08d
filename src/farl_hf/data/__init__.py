"""From files to batches: data sets in one row shape, augmentation in the crop matrix, one resampling per face.

Names load on first use: the catalogue of data sets needs no torch.
"""

import importlib
from typing import Any

_MODULE_OF = {"load_face_dataset": "loading"}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'farl_hf.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"farl_hf.data.{_MODULE_OF[name]}"), name)
