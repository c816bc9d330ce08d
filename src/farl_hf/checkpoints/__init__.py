"""Names of checkpoints, and where their files live."""

from farl_hf.checkpoints.checkpoint_names import KNOWN_NAMES, OFFICIAL_MODELS, checkpoint, default_checkpoint
from farl_hf.checkpoints.embedded_models import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS

__all__ = [
    "DEFAULT_CHECKPOINTS",
    "EMBEDDED_CHECKPOINTS",
    "KNOWN_NAMES",
    "OFFICIAL_MODELS",
    "checkpoint",
    "default_checkpoint",
]
