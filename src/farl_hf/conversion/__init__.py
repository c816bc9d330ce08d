"""Published weights into checkpoint folders of this library. Names load on first use: the table needs no torch."""

import importlib

_MODULE_OF = {
    "ConversionReport": "checkpoint_conversion",
    "RELEASED_MODELS": "released_models",
    "ReleasedModel": "released_models",
    "convert_checkpoint": "checkpoint_conversion",
}

__all__ = list(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'farl_hf.conversion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"farl_hf.conversion.{_MODULE_OF[name]}"), name)
