"""The encoders that the paper compares: how each is built, and how its pictures are normalised.

Sources: supplement section 8 for the list; timm 0.4.12 `vision_transformer.py`, lines 48 and 118-120 (ViT), 151-153
(DeiT); facebookresearch/moco-v3 `vits.py`, lines 122-127, `main_moco.py`, line 258; microsoft/unilm
`beit/modeling_finetune.py`, line 27; FaRL:farl/network/transformers.py, lines 106-109 (CLIP's mean and deviation);
zhongyy/Face-Transformer `train.py`, lines 138-150.

Levels: {3, 5, 7, 11} where there are 12 blocks (FaRL:farl/network/transformers.py, lines 126-128). Its levels of Face
Transformer's 20 blocks are not published; those here lie at the same fractions of the depth: a third, a half, two
thirds and all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BYTES = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # the authors feed 0..255: image_iter.py, 68-78


@dataclass(frozen=True)
class Backbone:
    """One encoder.

    Args:
        described (`str`): What it is.
        config (`Mapping`, *optional*): `backbone_config` of [`FaRLConfig`]; none for FaRL's own vision encoder.
        levels (`tuple[int, ...]`): Blocks, from 0, that feed a head.
        patch_size (`int`): Side of a patch in pixels.
        image_mean, image_std (`tuple[float, ...]`): Of RGB in [0, 1].
    """

    described: str
    config: Mapping[str, Any] | None
    levels: tuple[int, ...]
    patch_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]


def _timm(architecture: str, **settings: Any) -> dict[str, Any]:
    return {"model_type": "timm_wrapper", "architecture": architecture, "model_args": settings}


_LEVELS = (3, 5, 7, 11)
_VIT = _timm("vit_base_patch16_224")

BACKBONES = {
    "farl": Backbone("FaRL, ViT-B/16", None, _LEVELS, 16, *_CLIP),
    "clip": Backbone("CLIP, ViT-B/16", None, _LEVELS, 16, *_CLIP),
    "vit": Backbone("ViT-B/16, AugReg, ImageNet-21k", _VIT, _LEVELS, 16, *_HALF),
    "deit": Backbone("DeiT-B/16, distilled", _timm("deit_base_distilled_patch16_224"), _LEVELS, 16, *_IMAGENET),
    "mocov3": Backbone("MoCo v3, ViT-B/16", _VIT, _LEVELS, 16, *_IMAGENET),
    "beit": Backbone(
        "BEiT-B/16",
        _timm("beit_base_patch16_224", use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
        _LEVELS,
        16,
        *_HALF,
    ),
    "face_transformer": Backbone(
        "Face Transformer, ViT-P8S8", {"model_type": "face_transformer"}, (5, 9, 12, 19), 8, *_BYTES
    ),
}
