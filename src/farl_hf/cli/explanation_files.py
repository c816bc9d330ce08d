"""Explanations of faces as a sheet of pictures and as arrays."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from farl_hf.cli.face_annotator import write_whole
from farl_hf.cli.face_window import enlarged_window, face_window
from farl_hf.drawing import contact_sheet, draw_heat_map
from farl_hf.explanation import FaceExplanation

__all__ = ["write_arrays", "write_sheet"]

_FACE_PX = 288  # longer side of a drawn face
_CAPTION_CHARACTERS = 26  # what fits over it, with the score


def write_sheet(photo: Image.Image, explanations: Sequence[FaceExplanation], path: Path) -> Path:
    """Write one row per face: the face, then the face under each of its heat maps (supplement figure 2)."""
    pictures = []
    for row, explanation in enumerate(explanations, start=1):
        window = _window(explanation)
        pictures.append((f"face {row}", enlarged_window(np.asarray(photo), window, _FACE_PX)))
        pictures += [_drawn(photo, explanation, column, window) for column in range(len(explanation.names))]
    sheet = contact_sheet(pictures, 1 + len(explanations[0].names), (_FACE_PX, _FACE_PX))
    file = io.BytesIO()
    sheet.save(file, "png")
    return write_whole(path, file.getvalue())


def write_arrays(explanation: FaceExplanation, path: Path) -> Path:
    """Write everything known of one face as `.npz`; maps of the photo over the window around the face, float16."""
    x_min, y_min, x_max, y_max = window = _window(explanation)
    photo_maps = [
        explanation.photo_map(name)[y_min:y_max, x_min:x_max].astype(np.float16) for name in explanation.names
    ]
    arrays = {name: getattr(explanation, name) for name in ("scores", "patch_maps", "crop_maps", "crop_from_photo")}
    file = io.BytesIO()
    np.savez_compressed(
        file,
        names=np.array(explanation.names),
        box_xyxy=explanation.box_xyxy,
        window_xyxy=np.array(window),
        photo_maps=np.stack(photo_maps),
        **arrays,
    )
    return write_whole(path, file.getvalue())


def _window(explanation: FaceExplanation) -> tuple[int, int, int, int]:
    crop_from_photo = torch.from_numpy(explanation.crop_from_photo)
    return face_window(crop_from_photo, explanation.image_processor.size_hw, explanation.photo_size_hw)


def _drawn(photo: Image.Image, explanation: FaceExplanation, column: int, window: tuple) -> tuple[str, Image.Image]:
    name, score = explanation.names[column], explanation.scores[column]
    x_min, y_min, x_max, y_max = window
    heat_map = explanation.photo_map(name)[y_min:y_max, x_min:x_max]
    picture = draw_heat_map(photo.crop(window), heat_map)
    caption = textwrap.shorten(name, _CAPTION_CHARACTERS, placeholder=" …")
    caption = caption if np.isnan(score) else f"{caption}: {score:.2f}"
    return caption, enlarged_window(np.asarray(picture), (0, 0, *picture.size), _FACE_PX)
