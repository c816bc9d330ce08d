"""Localisation of heat maps of texts, on rendered faces of the test split, whose parts are known.

    python -m benchmarks.explain_localisation [--model NAME] [--faces N] [--dataset NAME_OR_FOLDER] [--layer NAME]

For each word, the faces are those that have what it names. Heat maps are those of `farl_hf.explain`, in the frame of
the photo, within the crop. Printed are the mean ratio of mass share to area share (chance is 1), both shares, and the
pointing game: how often the maximum lies in the region, beside chance, the mean share of the region in the area.

Regions, in units of the distance between the eyes, along the axes of the face:

| word | region |
|---|---|
| glasses | a band around the eyes: 1.1 to either side of their middle, 0.4 up and down |
| hat | above the brows, within 1.5 of the middle and up to 2.2 above the eyes |
| smile | the outline of the lips, widened by 0.2 |
| hair | the pixels labelled hair |
| beard | inside the outline of the face, below the tip of the nose |
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from farl_hf import explain, load_face_dataset
from farl_hf.cli.model_loading import load_model_and_processor
from farl_hf.cli.options import IMAGE_TEXT_MODEL
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS
from farl_hf.labels.attributes import PROMPT_WRAPPERS
from farl_hf.photos import decode_map, decode_photo

MOST_PHOTOS = 5000
SMALLEST_EYE_DISTANCE_PX = 25
SMALLEST_REGION = 0.005  # of the crop; regions outside the photo, or hidden, say nothing


@dataclass(frozen=True)
class Face:
    """A rendered face and its truth, in photo pixels."""

    photo: np.ndarray
    hair: np.ndarray
    points5_xy: np.ndarray
    landmarks_xy: np.ndarray
    attributes: dict[str, int]

    @property
    def eye_distance_px(self) -> float:
        """Between the eyes, in photo pixels."""
        return float(np.linalg.norm(self.points5_xy[1] - self.points5_xy[0]))

    def along_axes(self, points_xy: np.ndarray) -> np.ndarray:
        """Points (..., 2) as (to the right, down) of the middle between the eyes, in eye distances."""
        right = (self.points5_xy[1] - self.points5_xy[0]) / self.eye_distance_px
        axes = np.stack([right, [-right[1], right[0]]], axis=1)
        return (points_xy - self.points5_xy[:2].mean(0)) @ axes / self.eye_distance_px

    def pixels(self) -> np.ndarray:
        """(H, W, 2) of `along_axes` for the centre of every pixel."""
        y, x = np.mgrid[: self.photo.shape[0], : self.photo.shape[1]] + 0.5
        return self.along_axes(np.stack([x, y], axis=-1))

    def inside(self, outline_xy: np.ndarray, margin_px: float = 0) -> np.ndarray:
        """(H, W) mask of the convex hull of points, wider by a margin."""
        mask = np.zeros(self.photo.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.round(outline_xy).astype(np.int32)), 1)
        reach = round(margin_px)
        return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))) > 0


def around_eyes(face: Face) -> np.ndarray:
    right, down = np.moveaxis(face.pixels(), -1, 0)
    return (np.abs(right) <= 1.1) & (np.abs(down) <= 0.4)


def above_brows(face: Face) -> np.ndarray:
    right, down = np.moveaxis(face.pixels(), -1, 0)
    brows = face.along_axes(face.landmarks_xy[17:27])[:, 1].min()
    return (np.abs(right) <= 1.5) & (down <= brows) & (down >= -2.2)


def around_lips(face: Face) -> np.ndarray:
    return face.inside(face.landmarks_xy[48:60], 0.2 * face.eye_distance_px)


def below_nose(face: Face) -> np.ndarray:
    nose = face.along_axes(face.landmarks_xy[30:31])[0, 1]
    return face.inside(face.landmarks_xy[:17]) & (face.pixels()[..., 1] > nose)


@dataclass(frozen=True)
class Word:
    """What is looked for: (attribute, its value, text) in order of preference, and where it should be found."""

    texts: tuple[tuple[str, int, str], ...]
    region: Callable[[Face], np.ndarray]

    def text_for(self, face: Face) -> str | None:
        """The text that is true of a face; None where the word does not apply."""
        return next((text for name, value, text in self.texts if face.attributes[name] == value), None)


HAIR_COLOURS = ("black", "blond", "brown", "gray")
WORDS = {
    "glasses": Word((("eyeglasses", 1, "a person wearing eyeglasses"),), around_eyes),
    "hat": Word((("wearing_hat", 1, "a person wearing a hat"),), above_brows),
    "smile": Word((("smiling", 1, "a smiling person"),), around_lips),
    "hair": Word(
        tuple((f"{colour}_hair", 1, f"a person with {colour} hair") for colour in HAIR_COLOURS), lambda face: face.hair
    ),
    "beard": Word((("no_beard", 0, "a person with a beard"),), below_nose),
}


def faces_of(rows: Iterable[dict[str, Any]]) -> Iterator[Face]:
    """Every face that is large enough to be looked at."""
    for row in rows:
        photo, labels, instances = (
            decode_photo(row["image"]),
            *map(decode_map, (row["label_map"], row["instance_map"])),
        )
        for number, points in enumerate(np.asarray(row["points5_xy"], np.float32).reshape(-1, 5, 2)):
            face = Face(
                photo,
                (labels == LAPA_LABELS.index("hair")) & (instances == number + 1),
                points,
                np.asarray(row["landmarks_xy"][number], np.float32),
                dict(zip(CELEBA_ATTRIBUTES, row["attributes"][number], strict=True)),
            )
            if face.eye_distance_px >= SMALLEST_EYE_DISTANCE_PX:
                yield face


def crop_mask(explanation: Any) -> np.ndarray:
    """(H, W): what of the photo the model saw."""
    crop_from_photo = torch.from_numpy(explanation.crop_from_photo)[None]
    maps = explanation.image_processor.post_process_heat_maps(
        torch.ones(1, 1, 2, 2), crop_from_photo, [explanation.photo_size_hw]
    )
    return maps[0][0].numpy() > 0


def measure(explanation: Any, name: str, region: np.ndarray) -> tuple[float, float, float] | None:
    """Mass share, area share and hit of one map; None where the region is hardly in the crop or the map is empty."""
    seen, heat = crop_mask(explanation), explanation.photo_map(name)
    region = region & seen
    area = region.sum() / seen.sum()
    if area < SMALLEST_REGION or not heat.any():
        return None
    hit = region[np.unravel_index(heat.argmax(), heat.shape)]
    return float(heat[region].sum() / heat[seen].sum()), float(area), float(hit)


def collect(model: Any, processor: Any, rows: Iterable, count: int, options: dict) -> dict[str, list]:
    """Measures of the first `count` faces of each word."""
    measured: dict[str, list] = {word: [] for word in WORDS}
    for face in faces_of(rows):
        wanted = {word: WORDS[word].text_for(face) for word in WORDS if len(measured[word]) < count}
        wanted = {word: text for word, text in wanted.items() if text is not None}
        if wanted:
            image = {"image": face.photo, "keypoints": face.points5_xy[None]}
            (explanation,) = explain(model, processor, image, list(wanted.values()), **options)
            found = {word: measure(explanation, text, WORDS[word].region(face)) for word, text in wanted.items()}
            for word, values in found.items():
                measured[word] += [] if values is None else [values]
        if all(len(values) >= count for values in measured.values()):
            break
    return measured


def print_table(measured: dict[str, list]) -> None:
    print("| word | faces | mass / area | mass | area | pointing game | chance |")
    print("|---|---|---|---|---|---|---|")
    for word, values in measured.items():
        if not values:
            print(f"| {word} | 0 | | | | | |")
            continue
        mass, area, hit = np.array(values).T
        ratio = f"{(mass / area).mean():.2f}"
        shares = f"{mass.mean():.3f} | {area.mean():.3f} | {hit.mean():.2f} | {area.mean():.2f}"
        print(f"| {word} | {len(values)} | {ratio} | {shares} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=IMAGE_TEXT_MODEL, help="Checkpoint of the vision and the text encoder.")
    parser.add_argument("--faces", type=int, default=200, help="Per word.")
    parser.add_argument("--dataset", default="synthetic_faces", help="Or a folder with its columns.")
    parser.add_argument("--layer", help="Where Grad-CAM is taken.")
    parser.add_argument("--plain", action="store_true", help="Texts as they are, without averaging over prompts.")
    arguments = parser.parse_args()
    model, processor = load_model_and_processor(arguments.model, "cpu")
    if arguments.dataset == "synthetic_faces":  # rendered one after the other until there are enough
        rows = load_face_dataset(arguments.dataset, split="test", streaming=True, num_photos={"test": MOST_PHOTOS})
    else:
        rows = load_face_dataset(arguments.dataset, split="test")
    options = {"layer": arguments.layer} | ({} if arguments.plain else {"prompts": PROMPT_WRAPPERS})
    print(f"{arguments.model}, {'plain texts' if arguments.plain else 'texts averaged over prompts'}\n")
    print_table(collect(model, processor, rows, arguments.faces, options))


if __name__ == "__main__":
    main()
