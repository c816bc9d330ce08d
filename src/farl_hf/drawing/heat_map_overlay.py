"""Heat maps as colours over a photo: clear where cold, from blue over green to red where warm."""

import cv2
import numpy as np
from PIL import Image

from farl_hf.errors import InvalidFaceInputError

__all__ = ["draw_heat_map"]

_OPAQUE_FROM = 0.5  # heat at which the colour reaches its full opacity


def draw_heat_map(photo: Image.Image, heat_map: np.ndarray, opacity: float = 0.6) -> Image.Image:
    """The photo with one heat map over it.

    Args:
        photo (`PIL.Image.Image`): The upright photo; it is left as it is.
        heat_map (`np.ndarray` of shape `(height, width)`): Heat in [0, 1], as large as the photo.
        opacity (`float`, *optional*, defaults to 0.6): Of the colours where it is warm, in [0, 1].

    Returns:
        `PIL.Image.Image`: A new RGB image of the same size.

    Raises:
        InvalidFaceInputError: If the map is not as large as the photo.
    """
    if heat_map.shape != (photo.height, photo.width):
        raise InvalidFaceInputError(
            f"The heat map has shape {heat_map.shape}, the photo is {photo.height} pixels high and {photo.width} "
            "wide; draw on the photo that was explained."
        )
    heat = np.clip(np.asarray(heat_map, np.float32), 0, 1)
    colours_bgr = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)
    alpha = (opacity * np.minimum(heat / _OPAQUE_FROM, 1))[..., None]
    blended = np.asarray(photo.convert("RGB"), np.float32) * (1 - alpha) + colours_bgr[..., ::-1] * alpha
    return Image.fromarray(blended.round().astype(np.uint8))
