"""Configuration of the face decoder: a small generator of face pictures, trained as a variational autoencoder."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from .configuration_checks import check_base_settings, check_numbers, check_settings


class FaceDecoderConfig(PreTrainedConfig):
    """Configuration of [`FaceDecoderModel`]; the defaults make pictures of 112 pixels with 1.5 million parameters.

    Args:
        latent_size (`int`, *optional*, defaults to 64): Numbers of a latent.
        grid_size (`int`, *optional*, defaults to 7): Rows and columns of the first stage; each later stage doubles
            them, and the last one is turned into pixels at twice its resolution.
        stage_channels (`list[int]`, *optional*, defaults to `[160, 128, 64, 32]`): Channels of the stages.
        face_template (`list`, *optional*): Where the five points of a face lie in a picture, (x, y) in fractions of
            its half side as in [`FaRLImageProcessor`]; `None` where that is not known.
        initializer_range (`float`, *optional*, defaults to 1.0): Scales the initial deviations (He et al., 2015).

    Raises:
        ValueError: Numbers that do not describe a network.
    """

    model_type = "face_decoder"

    def __init__(
        self,
        latent_size: int = 64,
        grid_size: int = 7,
        stage_channels: Sequence[int] = (160, 128, 64, 32),
        face_template: Sequence[Sequence[float]] | None = None,
        initializer_range: float = 1.0,
        **kwargs: Any,
    ):
        check_numbers("stage_channels", stage_channels, 1, 2**14, whole=True, count=0)
        if len(stage_channels) > 10:
            raise ValueError(f"stage_channels has {len(stage_channels)} stages; expected at most 10.")
        if face_template is not None:
            if not isinstance(face_template, list | tuple) or len(face_template) != 5:
                raise ValueError(f"face_template={str(face_template)[:100]} must be five points.")
            for point in face_template:
                check_numbers("face_template", point, -1e3, 1e3, count=2)
        self.latent_size = latent_size
        self.grid_size = grid_size
        self.stage_channels = list(stage_channels)
        self.face_template = face_template and [[float(x), float(y)] for x, y in face_template]
        self.initializer_range = initializer_range
        check_settings(self)
        check_base_settings(kwargs)
        super().__init__(**kwargs)

    @property
    def image_size(self) -> int:
        """Side of a picture in pixels."""
        return self.grid_size * 2 ** len(self.stage_channels)
