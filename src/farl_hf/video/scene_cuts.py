"""Where one shot ends and the next begins."""

import numpy as np
from PIL import Image

__all__ = ["SceneCuts"]

_THUMBNAIL_WH = (16, 16)
_CUT = 0.5  # 0 for equal frames, 1 for frames that have nothing to do with each other
_NOISE = 4.0  # variance of grey levels below which a frame counts as one colour


class SceneCuts:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def __call__(self, image: Image.Image) -> bool:
        """Whether this frame begins another shot.

        The measure is the difference of two thumbnails, freed of their brightness, relative to their variance: a
        flash or a fade changes it little, motion moves a part of the picture, a cut changes all.
        """
        thumbnail = np.asarray(image.resize(_THUMBNAIL_WH, Image.Resampling.BOX, reducing_gap=1.0), np.float32)
        thumbnail -= thumbnail.mean(axis=(0, 1))
        before, self._before = self._before, thumbnail
        if before is None:
            return False
        spread = np.mean(before**2) + np.mean(thumbnail**2) + _NOISE
        return float(np.mean((thumbnail - before) ** 2) / spread) > _CUT
