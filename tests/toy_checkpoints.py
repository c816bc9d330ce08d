"""Checkpoint folders of seeded, untrained toy models of all four tasks, for tests of pipelines and command line."""

import torch

from farl_hf import (
    FaRLConfig,
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLImageProcessor,
    RetinaFaceConfig,
    RetinaFaceForFaceDetection,
    RetinaFaceImageProcessor,
)
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS

FACE_MODELS = {
    "face-parsing": (FaRLForFaceParsing, LAPA_LABELS, 0.8),
    "face-landmarks": (FaRLForLandmarks, tuple(f"point_{index}" for index in range(68)), 0.0),
    "face-attributes": (FaRLForAttributes, CELEBA_ATTRIBUTES, 0.0),
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}
MAX_FACES = 2  # an untrained detector sees faces everywhere


def save_toy_checkpoints(folder):
    """One folder per task, named like the embedded models; returns task -> folder."""
    paths = {task: folder / name for task, name in DEFAULT_CHECKPOINTS.items()}
    torch.manual_seed(0)
    for task, (model_class, names, warp_factor) in FACE_MODELS.items():
        config = FaRLConfig(
            vision_config=VISION,
            head_channels=16,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
        )
        model_class(config).eval().save_pretrained(paths[task])
        FaRLImageProcessor(size={"height": 32, "width": 32}, warp_factor=warp_factor).save_pretrained(paths[task])
    RetinaFaceForFaceDetection(RetinaFaceConfig(pyramid_channels=16)).save_pretrained(paths["face-detection"])
    RetinaFaceImageProcessor(score_threshold=0.0, max_faces=MAX_FACES).save_pretrained(paths["face-detection"])
    return paths
