"""How each kind of weights wants its input; part of the weights, because changing it changes what the network sees.

Sources: FacePerceiver/facer `face_parsing/farl.py`, `face_alignment/farl.py`, `face_attribute/farl.py` for the
released files; FacePerceiver/FaRL `farl/experiments/*/augmenters/` for files that the official training code wrote.
facer reads photos at pixel centres, the training code on the integer grid.

`box_scale` frames a tight face box about as the five points do: the processor's 0.55 belongs to LaPa's template.
"""

from typing import Any

from farl_hf.processing import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE

__all__ = ["face_processor_settings"]

_TEMPLATE = {"face_template": LAPA_TEMPLATE, "template_span": "size_minus_one", "pixel_grid": "half_pixel"}
_PARSER_OUTPUT = {"pixel_grid": "half_pixel", "score_size": 512}  # `out_size` of the official networks
_ATTRIBUTES = {
    "face_template": ATTRIBUTE_TEMPLATE,
    "template_span": "size",
    "pixel_grid": "half_pixel",
    "box_scale": 0.39,
}

# (kind, number of outputs) of released files; None stands for any other number.
_RELEASED = {
    # The template of pre-training is not published; the supplement ties that of the attributes to it (section 6).
    ("two_towers", None): _ATTRIBUTES,
    ("encoder", None): _ATTRIBUTES,  # a head that is trained on it brings its own frame
    ("parser", 19): {"alignment": "ffhq_square", "box_scale": 0.58, **_PARSER_OUTPUT},
    ("parser", None): {**_TEMPLATE, "warp_factor": 0.8, **_PARSER_OUTPUT},
    ("aligner", None): {**_TEMPLATE, "face_scale": 0.8, "box_scale": 0.44},
    ("attributes", None): _ATTRIBUTES,
}
# Changes for files of the official training code, which cuts aligner crops out by boxes (its `scale_mu`).
_TRAINING = {
    ("parser", None): {"pixel_grid": "integer"},
    ("aligner", 19): {"pixel_grid": "integer", "box_scale": 1.0},
    ("aligner", None): {"pixel_grid": "integer", "box_scale": 0.8},
}


def face_processor_settings(kind: str, num_outputs: int, image_size: int, official_training: bool) -> dict[str, Any]:
    """Arguments of `FaRLImageProcessor` for a model of a kind, with so many outputs and that input side in pixels."""
    settings = _row(_RELEASED, kind, num_outputs)
    changes = _row(_TRAINING, kind, num_outputs) if official_training else {}
    return {**settings, **changes, "size": {"height": image_size, "width": image_size}}


def _row(table, kind, num_outputs):
    return table.get((kind, num_outputs)) or table.get((kind, None), {})
