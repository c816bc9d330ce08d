"""Success of edits by text, judged by models that took no part.

    python -m benchmarks.editing_success [--generator NAME] [--model NAME] [--starts 32] [--steps 120] [--sheet FILE]

For each word, the starts are the first random faces that lack the attribute according to the attribute model. Printed
per word:

- the share of all random faces that have the attribute;
- the share of the edited faces that have it, before and after;
- the share in which the parsing model finds a face: skin on at least 5 % of the crop, a nose, and parts of the mouth
  and of eyes or brows;
- the mean similarity;
- the distance of the latents from the start (a random latent has a distance from 0 of about the square root of its
  size);
- recall and false alarms of the attribute model itself, on rendered faces of the test split at the resolution of the
  generator.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
)

from examples.face_generator.face_crops import FaceCrops, crop_of
from farl_hf import load_face_dataset
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.cli.model_loading import load_model_and_processor
from farl_hf.cli.options import IMAGE_TEXT_MODEL
from farl_hf.data.samples.pretraining_samples import pretraining_collate
from farl_hf.drawing import contact_sheet
from farl_hf.editing import EditedFaces, edit_latents
from farl_hf.editing.face_alignment import FaceAlignment
from farl_hf.labels import CELEBA_ATTRIBUTES, LAPA_LABELS
from farl_hf.labels.attributes import PROMPT_WRAPPERS
from farl_hf.retrieval.face_embedding import FaceCutter
from farl_hf.retrieval.text_embedding import PLAIN

TEXTS = {
    "eyeglasses": "a person wearing eyeglasses",
    "smiling": "a smiling person",
    "black_hair": "a person with black hair",
    "wearing_hat": "a person wearing a hat",
}
MOST_BEFORE, LEAST_AFTER, LEAST_FACES = 0.3, 0.7, 0.95
POOL = 512  # random faces among which starts are looked for
BATCH_SIZE = 32
LEAST_SKIN = 0.05
SHOWN_FACES, SHOWN_PX = 6, 168


class FaceNetwork:
    """A face model behind the alignment that it expects.

    Args:
        auto_class: Of Transformers.
        name (`str`): Of the checkpoint, or its folder.
        points5_xy (`torch.Tensor` of shape `(5, 2)`, *optional*): Where faces lie in the pictures.
    """

    def __init__(self, auto_class: Any, name: str, points5_xy: torch.Tensor | None) -> None:
        folder = checkpoint(name)
        self.model = auto_class.from_pretrained(folder, dtype="float32").eval()
        self.cutter = FaceCutter(self.model, AutoImageProcessor.from_pretrained(folder))
        self.points5_xy = points5_xy

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs for pictures (N, 3, H, W) in [0, 1]."""
        return torch.cat(
            [
                self.model(pixel_values=FaceAlignment(self.cutter, some, self.points5_xy)(some)).logits
                for some in images.split(BATCH_SIZE)
            ]
        )


class Judges:
    """The models that took no part in the editing."""

    def __init__(self, arguments: argparse.Namespace, points5_xy: torch.Tensor | None) -> None:
        self.attributes = FaceNetwork(AutoModelForImageClassification, arguments.attributes, points5_xy)
        self.parser = FaceNetwork(AutoModelForSemanticSegmentation, arguments.parser, points5_xy)

    def reliability(self, crops: FaceCrops) -> dict[str, str]:
        """Recall and false alarms of the attribute head on faces whose attributes are known, as text."""
        batch = pretraining_collate([crops[index] for index in range(len(crops))])
        columns = {attribute: batch["attributes"][:, CELEBA_ATTRIBUTES.index(attribute)] for attribute in TEXTS}
        found = {attribute: self.has(attribute, batch["pixel_values"]).float() for attribute in TEXTS}
        return {
            attribute: " | ".join(f"{float(found[attribute][truth == value].mean()):.2f}" for value in (1, 0))
            for attribute, truth in columns.items()
        }

    def has(self, attribute: str, images: torch.Tensor) -> torch.Tensor:
        """Whether the attribute head says that a face has it, (N,) bool."""
        column = int(self.attributes.model.config.label2id[attribute])
        return self.attributes.logits(images)[:, column] > 0

    def faces(self, images: torch.Tensor) -> torch.Tensor:
        """Whether the parsing model finds the parts of a face, (N,) bool."""
        labels_NHW = self.parser.logits(images).argmax(dim=1)
        share = {name: (labels_NHW == index).float().mean(dim=(1, 2)) for index, name in enumerate(LAPA_LABELS)}
        lips = share["upper_lip"] + share["lower_lip"] + share["inner_mouth"]
        around_eyes = sum(share[name] for name in LAPA_LABELS if name.endswith(("_eye", "_eyebrow")))
        return (share["skin"] >= LEAST_SKIN) & (share["nose"] > 0) & (lips > 0) & (around_eyes > 0)


@dataclass(frozen=True)
class Outcome:
    """What became of the faces of one word."""

    share_of_random: float
    edited: EditedFaces
    before: torch.Tensor
    after: torch.Tensor
    faces_before: torch.Tensor
    faces_after: torch.Tensor

    def row(self, attribute: str) -> str:
        """Of the Markdown table."""
        moved = (self.edited.latents - self.edited.start_latents).flatten(1).norm(dim=1).mean()
        similarities = f"{self.edited.start_similarities.mean():.2f} → {self.edited.similarities.mean():.2f}"
        shares = " | ".join(
            f"{float(values.float().mean()):.2f}"
            for values in (self.before, self.after, self.faces_before, self.faces_after)
        )
        faces = f"{len(self.edited)} | {self.share_of_random:.2f}"
        return f"| {attribute} | {faces} | {shares} | {similarities} | {moved:.1f} |"


def measure(attribute: str, generator: Any, encoders: tuple, judges: Judges, arguments: argparse.Namespace) -> Outcome:
    """Edit faces that lack an attribute, and let the judges say what came of it."""
    pool = generator.sample_latents(POOL, arguments.seed)
    with torch.inference_mode():
        images = torch.cat([generator.images_from_latents(some) for some in pool.split(BATCH_SIZE)])
    has = judges.has(attribute, images)
    starts = pool[~has][: arguments.starts]
    edited = edit_latents(
        generator, *encoders, starts, TEXTS[attribute], num_steps=arguments.steps,
        learning_rate=arguments.learning_rate, l2_weight=arguments.l2_weight, crop_noise=arguments.crop_noise,
        prompts=PLAIN if arguments.plain else PROMPT_WRAPPERS,
    )  # fmt: skip
    return Outcome(
        float(has.float().mean()),
        edited,
        judges.has(attribute, edited.start_images),
        judges.has(attribute, edited.images),
        judges.faces(edited.start_images),
        judges.faces(edited.images),
    )


def rendered_crops(generator: Any, arguments: argparse.Namespace) -> FaceCrops:
    """Faces of the test split as the generator frames them."""
    sizes = {"train": 0, "validation": 0, "test": arguments.rendered}
    return FaceCrops(load_face_dataset(arguments.dataset, num_photos=sizes)["test"], crop_of(generator.config))


def print_table(outcomes: dict[str, Outcome], reliability: dict[str, str]) -> None:
    print(
        "| word | faces | random faces with it | before | after | face before | face after | similarity | moved "
        "| recall of the head | false alarms |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for attribute, outcome in outcomes.items():
        print(f"{outcome.row(attribute)} {reliability[attribute]} |")
    print(f"\nWanted: before < {MOST_BEFORE:g}, after ≥ {LEAST_AFTER:g}, face after ≥ {LEAST_FACES:g}.")


def write_sheet(path: Path, outcomes: dict[str, Outcome]) -> None:
    """For each word a row of starts and a row of what became of them."""
    pictures = []
    for attribute, outcome in outcomes.items():
        for name, images in (("start", outcome.edited.start_images), (attribute, outcome.edited.images)):
            for image in images[:SHOWN_FACES]:
                pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
                pictures.append((name, Image.fromarray(pixels).resize((SHOWN_PX, SHOWN_PX))))
    contact_sheet(pictures, SHOWN_FACES, (SHOWN_PX, SHOWN_PX)).save(path, quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="farl-tiny-generator", help="A face decoder's name or folder.")
    parser.add_argument("--model", default=IMAGE_TEXT_MODEL, help="Checkpoint of both encoders.")
    parser.add_argument("--attributes", default=DEFAULT_CHECKPOINTS["face-attributes"], help="Judge of attributes.")
    parser.add_argument("--parser", default=DEFAULT_CHECKPOINTS["face-parsing"], help="Judge of faces.")
    parser.add_argument("--dataset", default="synthetic_faces", help="Or a folder with its columns.")
    parser.add_argument("--rendered", type=int, default=400, help="Photos on which the head is tested.")
    parser.add_argument("--starts", type=int, default=32, help="Faces per word.")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--l2_weight", type=float, default=0.001)
    parser.add_argument("--crop-noise", type=float, default=0.07)
    parser.add_argument("--plain", action="store_true", help="Texts as they are, without averaging over prompts.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", nargs="+", default=list(TEXTS), choices=list(TEXTS))
    parser.add_argument("--sheet", type=Path, help="Also draw the first faces of each word here.")
    arguments = parser.parse_args()
    generator = AutoModel.from_pretrained(checkpoint(arguments.generator)).eval()
    encoders = load_model_and_processor(arguments.model, "cpu")
    judges = Judges(arguments, generator.points5_xy)
    reliability = judges.reliability(rendered_crops(generator, arguments))
    outcomes = {word: measure(word, generator, encoders, judges, arguments) for word in arguments.words}
    print_table(outcomes, reliability)
    if arguments.sheet:
        write_sheet(arguments.sheet, outcomes)


if __name__ == "__main__":
    main()
