"""`edit_latents`: StyleCLIP's latent optimisation with FaRL instead of CLIP (supplement, section 1).

Source: Patashnik et al., StyleCLIP (ICCV 2021), section 4; orpatashnik/StyleCLIP `optimization/run_optimization.py`.
Differences: faces are aligned as the model expects them, several faces are edited together, and the model may be FaRL
or CLIP.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from farl_hf.editing.face_alignment import FaceAlignment
from farl_hf.editing.face_generators import FaceGenerator
from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, InvalidTextError
from farl_hf.retrieval.face_embedding import FaceCutter, evaluating, unit_image_features
from farl_hf.retrieval.text_embedding import PLAIN, checked_texts, embed_texts

_RAMP_UP, _RAMP_DOWN = 0.05, 0.25  # shares of all steps
_RANGE_TOLERANCE = 1e-3
_LARGEST_NOISE = 0.2  # standard deviation; with more, some crops show almost nothing of the face

# Weight of a part of the loss, and its values (N,) from latents (N, …) and their pictures (N, 3, H, W).
_Term = tuple[float, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]


@dataclass(frozen=True, eq=False)
class EditedFaces:
    """Several faces edited by the same text. N is the number of faces, S that of steps; everything on the CPU.

    Args:
        text (`str`): What the faces should show.
        start_latents, latents (`torch.Tensor` of shape `(N, *latent_shape)`): Before and after.
        start_images, images (`torch.Tensor` of shape `(N, 3, H, W)`): The generator's pictures, RGB in [0, 1].
        start_similarities, similarities (`np.ndarray` of shape `(N,)`): Cosine similarity of face and text.
        losses (`dict[str, np.ndarray]`): What was minimised, (S, N) each: `text` (1 - similarity), `l2` (squared
            distance to the start), with an identity term `identity` (1 - similarity to the start), and `total`, their
            weighted sum.
        crop_from_photo (`torch.Tensor` of shape `(N, 3, 3)`): The crops that the model saw, see docs/conventions.md.
    """

    text: str
    start_latents: torch.Tensor
    latents: torch.Tensor
    start_images: torch.Tensor
    images: torch.Tensor
    start_similarities: np.ndarray
    similarities: np.ndarray
    losses: dict[str, np.ndarray]
    crop_from_photo: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)


@torch.inference_mode(False)  # gradients are needed, even where the caller has turned them off
@torch.enable_grad()
def edit_latents(
    generator: FaceGenerator,
    model: Any,
    processor: Any,
    latents: torch.Tensor,
    text: str,
    *,
    num_steps: int = 300,
    learning_rate: float = 0.1,
    l2_weight: float = 0.008,
    identity_weight: float = 0.0,
    identity_embedding: Callable[[torch.Tensor], torch.Tensor] | None = None,
    crop_noise: float = 0.0,
    prompts: Sequence[str] = PLAIN,
    aligned: bool = False,
    detector: Any = None,
    progress: Callable[[int], None] | None = None,
) -> EditedFaces:
    """Move latents until the faces drawn from them fit a text.

    Adam minimises 1 - cosine similarity of face and text, plus the weighted terms. Latents do not influence each
    other: together they give what each gives alone.

    Args:
        generator ([`FaceGenerator`]): Draws the faces.
        model ([`FaRLModel`] or [`CLIPModel`]): A model of images and texts.
        processor: Its processor.
        latents (`torch.Tensor` of shape `(N, *latent_shape)`): Where to start, such as `generator.sample_latents(8)`.
        text (`str`): What the faces should show.
        num_steps (`int`, *optional*, defaults to 300): Number of steps.
        learning_rate (`float`, *optional*, defaults to 0.1): Highest rate; see [`ramped_learning_rate`].
        l2_weight (`float`, *optional*, defaults to 0.008): Of the squared distance to the start.
        identity_weight (`float`, *optional*, defaults to 0.0): Of 1 - cosine similarity of `identity_embedding`.
        identity_embedding (`Callable`, *optional*): Pictures (N, 3, H, W) in [0, 1] to vectors (N, D) that tell people
            apart, differentiably.
        crop_noise (`float`, *optional*, defaults to 0.0): In each step the crops are scaled and shifted at random, by
            about this share of their size, so that the result does not depend on one exact crop. StyleCLIP has no such
            noise.
        prompts (`Sequence[str]`, *optional*): Patterns around the text, such as
            `labels.attributes.PROMPT_WRAPPERS`, whose vectors are averaged.
        aligned (`bool`, *optional*, defaults to `False`): The whole picture is the face crop. Otherwise faces are
            aligned by the generator's `points5_xy`, or by those that are found in the pictures of the start.
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*): What finds them.
        progress (`Callable`, *optional*): Called after each step with the number of steps done.

    Raises:
        InvalidTextError: If the text is empty.
        InvalidArgumentError: If the latents do not fit the generator, or a setting cannot be used.
        InvalidFaceInputError: If the pictures of the generator are not in [0, 1] or show no face.
        UnsuitableModelError: If the model or the processor lacks what is needed, such as the text encoder.

    Example:
        >>> from transformers import AutoModel, AutoProcessor
        >>> from farl_hf.editing import edit_latents
        >>> generator = AutoModel.from_pretrained("farl-tiny-generator")  # doctest: +SKIP
        >>> model = AutoModel.from_pretrained("farl-tiny")  # doctest: +SKIP
        >>> processor = AutoProcessor.from_pretrained("farl-tiny")  # doctest: +SKIP
        >>> starts = generator.sample_latents(8)  # doctest: +SKIP
        >>> edited = edit_latents(generator, model, processor, starts, "a person with black hair")  # doctest: +SKIP
    """
    if not isinstance(text, str):
        raise InvalidTextError(f"The text is {text!r}; give one sentence, and edit once per sentence.")
    _check_settings(num_steps, learning_rate, l2_weight, crop_noise, identity_weight, identity_embedding)
    with evaluating(model):
        text_embed_P = embed_texts(model, processor, checked_texts(text), prompts)[0]
        start = _checked_latents(latents, generator.latent_shape)
        with torch.no_grad():
            start_images = _checked_images(generator.images_from_latents(start), len(start))
        alignment = FaceAlignment(FaceCutter(model, processor, aligned, detector), start_images, generator.points5_xy)
        random = torch.Generator().manual_seed(0)

        def similarity(images: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
            # One motion for all faces, so that the result for a face does not depend on the others.
            motion = alignment.random_motion(noise, random) if noise else None
            crops = alignment(images, motion).to(model.device, model.dtype)
            units_NP = unit_image_features(model, crops)
            return units_NP @ text_embed_P.to(units_NP)

        terms: dict[str, _Term] = {
            "text": (1.0, lambda latents, images: 1 - similarity(images, crop_noise)),
            "l2": (l2_weight, lambda latents, images: (latents - start).square().flatten(1).sum(dim=1)),
        }
        if identity_weight and identity_embedding is not None:
            with torch.no_grad():
                identity_ND = identity_embedding(start_images)
            terms["identity"] = (
                identity_weight,
                lambda latents, images: 1 - cosine_similarity(identity_embedding(images), identity_ND, dim=-1),
            )
        latents, losses = _optimised(generator, start, terms, num_steps, learning_rate, progress)
        with torch.no_grad():
            images = generator.images_from_latents(latents)
            start_similarities = similarity(start_images).cpu().numpy()
            similarities = similarity(images).cpu().numpy()
    return EditedFaces(
        text,
        start.cpu(),
        latents.cpu(),
        start_images.cpu(),
        images.cpu(),
        start_similarities,
        similarities,
        losses,
        alignment.crop_from_photo,
    )


def ramped_learning_rate(step: int, num_steps: int, highest: float) -> float:
    """Rising in a line over the first twentieth of the steps, falling as a cosine to 0 over the last quarter."""
    done = step / num_steps
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / _RAMP_DOWN))
    return highest * falling * min(1.0, done / _RAMP_UP)


def _optimised(
    generator: FaceGenerator,
    start: torch.Tensor,
    terms: dict[str, _Term],
    num_steps: int,
    learning_rate: float,
    progress: Callable[[int], None] | None,
) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    # The squares of Adam's gradients vanish in half precision, so that it would divide by 0.
    latents = start.to(torch.promote_types(start.dtype, torch.float32), copy=True).requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=learning_rate)
    history: dict[str, list[torch.Tensor]] = {name: [] for name in (*terms, "total")}
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = ramped_learning_rate(step, num_steps, learning_rate)
        images = generator.images_from_latents(latents.to(start.dtype))
        values = {name: compute(latents, images).to(start.device) for name, (_, compute) in terms.items()}
        values["total"] = torch.stack([weight * values[name] for name, (weight, _) in terms.items()]).sum(dim=0)
        # The sum, not the mean: the loss of one face must not depend on how many are edited. Not `backward`, which
        # would leave gradients in the weights of both networks.
        (latents.grad,) = torch.autograd.grad(values["total"].sum(), latents)
        optimizer.step()
        for name, losses_N in values.items():
            history[name].append(losses_N.detach().float().cpu())
        if progress is not None:
            progress(step + 1)
    return latents.detach().to(start.dtype), {name: torch.stack(losses).numpy() for name, losses in history.items()}


def _check_settings(
    num_steps: int,
    learning_rate: float,
    l2_weight: float,
    crop_noise: float,
    identity_weight: float,
    identity_embedding: Any,
) -> None:
    numbers = {"learning_rate": learning_rate, "l2_weight": l2_weight, "crop_noise": crop_noise}
    for name, value in (numbers | {"identity_weight": identity_weight}).items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InvalidArgumentError(f"{name} is {value!r}; expected a finite number.")
    if not isinstance(num_steps, Integral) or num_steps < 1 or not learning_rate > 0:
        raise InvalidArgumentError(
            f"num_steps is {num_steps} and learning_rate {learning_rate}; expected at least one step and a rate "
            "above 0."
        )
    if not 0 <= crop_noise <= _LARGEST_NOISE:
        raise InvalidArgumentError(
            f"crop_noise is {crop_noise}; expected a share of the crop between 0 and {_LARGEST_NOISE}, such as 0.07."
        )
    if identity_weight and identity_embedding is None:
        raise InvalidArgumentError(
            f"identity_weight is {identity_weight}, but identity_embedding is missing; pass one, such as a face "
            "recognition network, or leave the weight at 0."
        )


def _checked_latents(latents: torch.Tensor, latent_shape: tuple[int, ...]) -> torch.Tensor:
    shape = tuple(getattr(latents, "shape", ()))
    if len(shape) == 0 or shape[0] == 0 or shape[1:] != tuple(latent_shape):
        raise InvalidArgumentError(
            f"latents have shape {shape}; the generator takes (N, {', '.join(map(str, latent_shape))}) with N of at "
            "least 1, such as generator.sample_latents(8)."
        )
    if not isinstance(latents, torch.Tensor) or not latents.is_floating_point():
        raise InvalidArgumentError("latents are no tensor of floating-point numbers; give torch.Tensor of float32.")
    if not torch.isfinite(latents).all():
        raise InvalidArgumentError("latents contain NaN or infinity; start from finite numbers.")
    return latents.detach().clone()


def _checked_images(images: torch.Tensor, count: int) -> torch.Tensor:
    if images.ndim != 4 or images.shape[:2] != (count, 3):
        raise InvalidFaceInputError(
            f"The generator draws pictures of shape {tuple(images.shape)}; expected ({count}, 3, height, width)."
        )
    lowest, highest = float(images.min()), float(images.max())
    if not (lowest >= -_RANGE_TOLERANCE and highest <= 1 + _RANGE_TOLERANCE):  # not so for NaN
        raise InvalidFaceInputError(
            f"The generator's pictures lie in [{lowest:.2f}, {highest:.2f}]; expected RGB in [0, 1]. Wrap a network "
            "that gives [-1, 1] in StyleGAN2Generator."
        )
    return images
