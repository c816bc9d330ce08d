"""Edit faces by sentences, with several models side by side (supplement, figure 1).

The built-in generator and model, on rendered faces:

    python examples/edit_faces_with_text.py --texts "a person wearing eyeglasses" "a person with black hair" \
        --output-dir edited

FaRL beside CLIP on faces of a StyleGAN2, given as TorchScript (loading such a file runs its code: only trusted ones);
the models are folders or names, such as `farl-hf download` and `farl-hf convert` make:

    python examples/edit_faces_with_text.py --generator synthesis.pt --mapping mapping.pt --latent-shape 18 512 \
        --model-name-or-path CLIP_FOLDER farl --texts "an old man" "a person with curly hair" --output-dir edited

Written: `contact_sheet.png` (each face before, then by each model for each text), every picture,
`latents.safetensors`, and `results.json` with losses and similarities before and after.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tqdm.auto import tqdm
from transformers import AutoModel

from farl_hf.checkpoints import checkpoint
from farl_hf.checkpoints.checked_loading import load_whole
from farl_hf.cli.model_loading import load_model_and_processor, require_device
from farl_hf.cli.options import IMAGE_TEXT_MODEL
from farl_hf.drawing import contact_sheet
from farl_hf.editing import EditedFaces, FaceGenerator, StyleGAN2Generator, edit_latents
from farl_hf.errors import FaRLError, InvalidArgumentError
from farl_hf.labels.attributes import PROMPT_WRAPPERS
from farl_hf.retrieval.text_embedding import PLAIN
from farl_hf.training.arguments import ScriptParser
from farl_hf.whole_files import write_json, write_picture, write_whole

GENERATOR = "farl-tiny-generator"
SHOWN_PX = 256
MOST_FACES_TOGETHER = 16  # in one step; more only cost memory


@dataclass
class EditArguments:
    """Arguments: texts, generator, models, and settings of the optimisation."""

    texts: list[str] = field(metadata={"help": "What the faces should show, one sentence each."})
    output_dir: str = field(default="edited", metadata={"help": "Folder of sheet, pictures, latents and numbers."})
    generator: str = field(
        default=GENERATOR,
        metadata={"help": "Name or folder of a face decoder, or a TorchScript file that takes w. Its code is run."},
    )
    mapping: str | None = field(
        default=None, metadata={"help": "TorchScript file that maps z to w, for a TorchScript generator."}
    )
    latent_shape: list[int] | None = field(
        default=None,
        metadata={"help": "Shape of one latent of a TorchScript generator: 18 512 for StyleGAN2 at 1024 pixels."},
    )
    model_name_or_path: list[str] = field(
        default_factory=lambda: [IMAGE_TEXT_MODEL],
        metadata={"help": "Models of images and texts, FaRL's or CLIP's; one column each."},
    )
    starts: int = field(default=8, metadata={"help": "Faces to start from."})
    latents: str | None = field(
        default=None, metadata={"help": "A safetensors file with `start` latents, instead of random ones."}
    )
    steps: int = field(default=120, metadata={"help": "Steps of the optimisation; 300 in StyleCLIP."})
    learning_rate: float = field(default=0.1, metadata={"help": "Highest learning rate of the latents."})
    l2_weight: float = field(
        default=0.001, metadata={"help": "Weight of the squared distance to the start; 0.008 in StyleCLIP."}
    )
    crop_noise: float = field(
        default=0.07, metadata={"help": "Random shift and scale of the crops in each step; 0 in StyleCLIP."}
    )
    plain: bool = field(default=False, metadata={"help": "Take texts as they are, without averaging over prompts."})
    aligned: bool = field(default=False, metadata={"help": "Every picture is a face crop; do not detect."})
    seed: int = field(default=0, metadata={"help": "Seed of the random faces."})
    device: str = field(default="cpu", metadata={"help": "Where everything runs."})


def load_generator(args: EditArguments) -> FaceGenerator:
    """A decoder by name or folder, or a StyleGAN2 by its file."""
    if not Path(args.generator).is_file():
        return load_whole(AutoModel, checkpoint(args.generator), "FaceDecoderModel").eval().to(args.device)
    if args.latent_shape is None:
        raise InvalidArgumentError(f"{args.generator} does not store the shape of its latents; pass --latent-shape.")
    shape = tuple(args.latent_shape)
    return StyleGAN2Generator.from_torchscript(args.generator, shape, args.mapping, args.device)


def starting_latents(args: EditArguments, generator: FaceGenerator) -> torch.Tensor:
    """Random latents, or those of a file that this script wrote."""
    if args.latents is None:
        return generator.sample_latents(args.starts, args.seed)
    try:
        latents = load_file(args.latents)
    except (OSError, SafetensorError) as error:
        raise InvalidArgumentError(f"--latents {args.latents} cannot be read: {error}") from error
    if "start" not in latents:
        raise InvalidArgumentError(f"{args.latents} holds {', '.join(latents)}; expected a tensor named start.")
    return latents["start"][: args.starts].to(args.device)


def edit(
    args: EditArguments, generator: FaceGenerator, starts: torch.Tensor, name: str
) -> dict[str, list[EditedFaces]]:
    """The faces edited by one model: for each text, groups of faces."""
    model, processor = load_model_and_processor(name, args.device)
    edited = {}
    for text in args.texts:
        groups = starts.split(MOST_FACES_TOGETHER)
        with tqdm(total=len(groups) * args.steps, desc=f"{Path(name).name}: {text}") as bar:
            edited[text] = [
                edit_latents(
                    generator, model, processor, group, text,
                    num_steps=args.steps, learning_rate=args.learning_rate, l2_weight=args.l2_weight,
                    crop_noise=args.crop_noise, prompts=PLAIN if args.plain else PROMPT_WRAPPERS, aligned=args.aligned,
                    progress=lambda step: bar.update(),
                )
                for group in groups
            ]  # fmt: skip
    return edited


def as_picture(image_CHW: torch.Tensor) -> Image.Image:
    """Of an RGB tensor in [0, 1]."""
    return Image.fromarray((image_CHW.permute(1, 2, 0) * 255).round().byte().numpy())


def rows_of(edited: dict[str, dict[str, list[EditedFaces]]]) -> list[list[tuple[str, torch.Tensor]]]:
    """A row per face: its start, then for each text what each model made of it, with captions."""
    first = next(iter(next(iter(edited.values())).values()))
    rows = [
        [(f"start {row}", image)] for row, image in enumerate(torch.cat([group.start_images for group in first]), 1)
    ]
    for text in next(iter(edited.values())):
        for name, by_text in edited.items():
            images = [image for group in by_text[text] for image in group.images]
            scores = [score for group in by_text[text] for score in group.similarities]
            for row, image, score in zip(rows, images, scores, strict=True):
                model = f"{Path(name).name}: " if len(edited) > 1 else ""
                row.append((f"{model}{text} {score:.2f}", image))
    return rows


def write_results(args: EditArguments, edited: dict[str, dict[str, list[EditedFaces]]]) -> None:
    """Sheet, pictures, latents, numbers."""
    folder = Path(args.output_dir)
    rows = rows_of(edited)
    pictures = [(caption, as_picture(image)) for row in rows for caption, image in row]
    shown = [(short(caption), picture.resize((SHOWN_PX, SHOWN_PX))) for caption, picture in pictures]
    write_picture(folder / "contact_sheet.png", contact_sheet(shown, len(rows[0]), (SHOWN_PX, SHOWN_PX)))
    for number, (_, picture) in enumerate(pictures):
        row, column = divmod(number, len(rows[0]))
        write_picture(folder / "images" / f"face_{row + 1:03d}_{column:02d}.png", picture)
    write_whole(folder / "latents.safetensors", save(latents_of(edited)))
    results = {"arguments": asdict(args), "columns": [caption for caption, _ in rows[0]], "edits": numbers_of(edited)}
    write_json(folder / "results.json", results)


def short(caption: str) -> str:
    """What fits over a picture: the beginning, and the score."""
    if len(caption) <= 30:
        return caption
    text, score = caption.rsplit(" ", 1)
    return f"{text[:24]}… {score}"


def latents_of(edited: dict[str, dict[str, list[EditedFaces]]]) -> dict[str, torch.Tensor]:
    """`start`, and `MODEL/TEXT` for every edit."""
    latents = {
        f"{name}/{text}": torch.cat([group.latents for group in groups])
        for name, by_text in edited.items()
        for text, groups in by_text.items()
    }
    first = next(iter(next(iter(edited.values())).values()))
    return {"start": torch.cat([group.start_latents for group in first])} | latents


def numbers_of(edited: dict[str, dict[str, list[EditedFaces]]]) -> list[dict[str, Any]]:
    """Similarities and losses of every edit, a number per face."""
    return [
        {
            "model": name,
            "text": text,
            "similarity_before": [float(value) for group in groups for value in group.start_similarities],
            "similarity_after": [float(value) for group in groups for value in group.similarities],
            "first_losses": step_losses(groups, 0),
            "last_losses": step_losses(groups, -1),
        }
        for name, by_text in edited.items()
        for text, groups in by_text.items()
    ]


def step_losses(groups: list[EditedFaces], step: int) -> dict[str, list[float]]:
    return {
        name: [float(value) for group in groups for value in group.losses[name][step]] for name in groups[0].losses
    }


def main() -> int:
    try:
        (args,) = ScriptParser(EditArguments, description=__doc__).parse_args_into_dataclasses()
        require_device(args.device)
        generator = load_generator(args)
        starts = starting_latents(args, generator)
        Path(args.output_dir, "images").mkdir(parents=True, exist_ok=True)
        edited = {name: edit(args, generator, starts, name) for name in args.model_name_or_path}
        write_results(args, edited)
    except FaRLError as error:
        print(error, file=sys.stderr)
        return 1
    for numbers in numbers_of(edited):
        before, after = (sum(numbers[key]) / len(starts) for key in ("similarity_before", "similarity_after"))
        print(f"{numbers['model']}: {numbers['text']!r}: mean similarity {before:.3f} before, {after:.3f} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
