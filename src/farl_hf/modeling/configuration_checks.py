"""Ranges of the settings of all configurations, and their checks.

A `config.json` may come from anywhere. Without these checks, a wrong value fails deep in the construction of a
network, or takes all memory.
"""

import torch
from transformers.activations import ACT2FN

# Setting -> smallest and largest whole number. The largest are far above all published models.
_WHOLE = {
    **dict.fromkeys(("hidden_size", "projection_dim", "head_channels", "latent_size"), (1, 2**14)),
    **dict.fromkeys(("intermediate_size", "pyramid_channels"), (1, 2**16)),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_channels"), (1, 256)),
    **dict.fromkeys(("image_size", "heatmap_size", "max_position_embeddings"), (1, 2**14)),
    **dict.fromkeys(("patch_size", "output_stride", "grid_size", "head_dim"), (1, 2**10)),
    **dict.fromkeys(("vocab_size", "mim_vocab_size"), (1, 2**24)),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), (0, 2**24)),
    "mim_num_hidden_layers": (0, 256),
    "negative_ratio": (0, 2**14),
}
# Setting -> smallest and largest number.
_REAL = {
    **dict.fromkeys(("attention_dropout", "hidden_dropout", "embedding_dropout", "head_dropout"), (0, 1)),
    **dict.fromkeys(("drop_path_rate", "match_threshold", "claim_threshold"), (0, 1)),
    **dict.fromkeys(("layer_norm_eps", "batch_norm_eps"), (0, 1)),
    **dict.fromkeys(("initializer_range", "initializer_factor", "point_loss_weight", "mim_weight"), (0, 1e6)),
    **dict.fromkeys(("box_loss_weight", "class_loss_weight", "keypoint_loss_weight"), (0, 1e6)),
    "heatmap_radius": (1e-3, 1e4),
    "logit_scale_init_value": (-100, 100),
    "width_multiplier": (1e-3, 16),
}
_MOST_LABELS = 10_000


def check_settings(config, names=None):
    """Raises a ValueError unless the settings that a configuration has lie in their ranges; makes numbers Python's.

    With `names`, only settings of these names.
    """
    settings = {name: value for name, value in vars(config).items() if names is None or name in names}
    for name, value in [(name, _plain(value)) for name, value in settings.items()]:
        setattr(config, name, value)
        if name in _WHOLE and not (value is None and name.endswith("_token_id")):
            check_numbers(name, value, *_WHOLE[name], whole=True)
        elif name in _REAL:
            check_numbers(name, value, *_REAL[name])
    act = settings.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in ACT2FN:
        raise ValueError(f"hidden_act={act!r} is no activation; expected one such as 'quick_gelu' or 'gelu'.")


def _plain(setting):
    """Return a setting with numbers of NumPy and PyTorch as Python's: settings are stored as JSON."""
    if hasattr(setting, "tolist"):
        return setting.tolist()
    if isinstance(setting, dict):
        return {name: _plain(value) for name, value in setting.items()}
    return type(setting)(map(_plain, setting)) if type(setting) in (list, tuple) else setting


def check_numbers(name, values, least, most, whole=False, count=None):
    """Raises a ValueError unless a value lies in its range; with `count`, a list of so many (0: one or more) must."""
    several = count is not None
    listed = isinstance(values, list | tuple)
    right = listed == several and (not several or len(values) == (count or max(len(values), 1)))
    for value in values if listed and right else [values]:
        right = right and hasattr(value, "__index__" if whole else "__float__") and not isinstance(value, bool)
        right = right and least <= value <= most
    if not right:
        kind = f"{'a whole number' if whole else 'a number'} from {least:g} to {most:g}"
        wanted = f"a list of {count or 'one or more'}, each {kind}" if several else kind
        raise ValueError(f"{name}={repr(values)[:100]} cannot be used; expected {wanted}.")


def check_thresholds(thresholds, labels):
    """Raises a ValueError unless `attribute_thresholds` is None or maps labels to None or numbers between 0 and 1."""
    if not isinstance(thresholds, dict | None):
        raise ValueError(f"attribute_thresholds={str(thresholds)[:100]} must map labels to numbers.")
    for label, threshold in (thresholds or {}).items():
        if label not in labels:
            raise ValueError(
                f"attribute_thresholds names {label!r}, which is none of the labels; remove it, or pass "
                "attribute_thresholds=None with new labels."
            )
        if threshold is not None:  # as if the label were not listed
            check_numbers(f"attribute_thresholds[{label!r}]", threshold, 1e-6, 1 - 1e-6)


def check_base_settings(settings):
    """Raises a ValueError for settings of every configuration that Transformers would fail on."""
    names = settings.get("id2label")
    if "attribute_map" in settings:
        raise ValueError("attribute_map belongs to the class of a configuration; remove it.")
    if "num_labels" in settings:
        check_numbers("num_labels", settings["num_labels"], 0, _MOST_LABELS, whole=True)
    if names is not None:
        ids = sorted(str(key) for key in names) if isinstance(names, dict) else [""]
        if ids != sorted(map(str, range(len(ids)))) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f"id2label={str(names)[:100]} must map the numbers from 0 on to names.")
    if not isinstance(settings.get("label2id"), dict | None):
        raise ValueError(f"label2id={str(settings['label2id'])[:100]} must map names to numbers.")
    classes = settings.get("architectures") or []
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"architectures={str(classes)[:100]!r} must be a list of names of classes.")
    dtype = settings.get("dtype", settings.get("torch_dtype"))
    named = not isinstance(dtype, str) or dtype == "auto" or hasattr(torch, dtype.removeprefix("torch."))
    if not named or isinstance(dtype, int | float | list):
        raise ValueError(f"dtype={str(dtype)[:100]!r} is no type of numbers; 'float32' is one.")


def check_heads(hidden_size, num_attention_heads):
    """Raises a ValueError unless the width can be divided among the heads."""
    if hidden_size % num_attention_heads:
        raise ValueError(
            f"hidden_size={hidden_size} is not a multiple of num_attention_heads={num_attention_heads}; "
            "choose a number of heads that divides the width."
        )


def check_patches(image_size, patch_size):
    """Raises a ValueError unless patches fill a picture."""
    if image_size % patch_size:
        raise ValueError(f"image_size={image_size} is not a multiple of patch_size={patch_size}.")
