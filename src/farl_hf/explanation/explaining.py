"""`farl_hf.explain`: heat maps for every face of a photo, over its crop and over the photo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from farl_hf.errors import InvalidTextError, check_name
from farl_hf.explanation.heat_map_methods import attention_rollout, explained_scores, grad_cam
from farl_hf.explanation.vision_layers import default_layer, find_layer, vision_model_of
from farl_hf.pipelines.inputs import check_batch_size
from farl_hf.retrieval.face_embedding import FaceCrops, FaceCutter, evaluating
from farl_hf.retrieval.text_embedding import PLAIN


@dataclass(frozen=True, eq=False)
class FaceExplanation:
    """The heat maps of one face.

    Args:
        names (`tuple[str, ...]`): Texts, attributes or classes, one per map.
        scores (`np.ndarray` of shape `(num_names,)`): The explained scores: cosine similarity of face and text, logit
            of the attribute, or mean logit of the class over its pixels. NaN for attention roll-out.
        patch_maps (`np.ndarray` of shape `(num_names, rows, columns)`): Maps as computed, one value per patch, ≥ 0.
        crop_maps (`np.ndarray` of shape `(num_names, h, w)`): Maps over the pixels of the (warped) crop, each scaled
            to [0, 1]; all 0 if no patch raises the score.
        crop_from_photo (`np.ndarray` of shape `(3, 3)`): Where the crop lies in the photo, see docs/conventions.md.
        box_xyxy (`np.ndarray` of shape `(4,)`): The face's box in photo pixels.
        photo_size_hw (`tuple[int, int]`): Height and width of the upright photo.
        image_processor ([`FaRLImageProcessor`]): Made the crop, and maps it back to the photo.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    patch_maps: np.ndarray
    crop_maps: np.ndarray
    crop_from_photo: np.ndarray
    box_xyxy: np.ndarray
    photo_size_hw: tuple[int, int]
    image_processor: Any

    def photo_map(self, name: str) -> np.ndarray:
        """One map in the photo frame, (height, width), float32 in [0, 1], 0 where the crop does not reach.

        It is computed on each call: the maps of all names for all faces of a large photo would take gigabytes.

        Raises:
            UnknownNameError: If there is no map of that name.
        """
        check_name("map of", name, self.names)
        crop_map = torch.from_numpy(self.crop_maps[self.names.index(name)])
        (photo_maps,) = self.image_processor.post_process_heat_maps(
            crop_map[None, None], torch.from_numpy(self.crop_from_photo)[None], [self.photo_size_hw]
        )
        return photo_maps[0].numpy()


METHODS = ("grad_cam", "attention_rollout")


def explain(
    model: Any,
    processor: Any,
    image: Any,
    texts: str | Sequence[str] = (),
    *,
    method: str = "grad_cam",
    layer: str | None = None,
    prompts: Sequence[str] = PLAIN,
    aligned: bool = False,
    detector: Any = None,
    threshold: float | None = None,
    batch_size: int = 8,
) -> list[FaceExplanation]:
    """Show where in each face of a photo a text, an attribute or a class is seen.

    Args:
        model ([`FaRLModel`], [`CLIPModel`], [`FaRLForAttributes`] or [`FaRLForFaceParsing`]): What is explained.
        processor: The checkpoint's processor; for attributes and classes an image processor will do.
        image: A path, URL, picture or array; or a dict `{"image": …, "boxes": … or "keypoints": …}` of known faces.
        texts (`str` or `Sequence[str]`): Free texts for a model of images and texts, else names of its labels.
        method (`str`, *optional*, defaults to `"grad_cam"`): `"attention_rollout"` shows what reaches the class token
            from each patch. It is the same for every text, and takes no text.
        layer (`str`, *optional*): Where Grad-CAM is taken, such as `"layers.5.layer_norm1"`, blocks counted from 0; by
            default the first LayerNorm of the last block (supplement section 2).
        prompts (`Sequence[str]`, *optional*): Patterns around each text, such as
            `labels.attributes.PROMPT_WRAPPERS`, whose vectors are averaged. By default the text stays as it is.
        aligned (`bool`, *optional*, defaults to `False`): The whole picture is taken; no face is searched.
        detector (`FaceDetectionPipeline`, callable, `str` or `Path`, *optional*): What finds the faces.
        threshold (`float`, *optional*): Lowest score of a face.
        batch_size (`int`, *optional*, defaults to 8): Faces that share a forward pass.

    Returns:
        `list[FaceExplanation]`: One per face, best score first; empty if there is none.

    Raises:
        InvalidTextError: If a text is empty, if there is none, or if the method takes none.
        UnknownNameError: If there is no such method, layer or label; the message lists those there are.
        UnsuitableModelError: If the model or the processor lacks what is needed, such as the text encoder.
        InvalidArgumentError: If `batch_size` is no whole number from 1.
        UnreadablePhotoError, InvalidFaceInputError: If the picture or the faces given with it cannot be used.

    Example:
        >>> from transformers import AutoModel, AutoProcessor
        >>> import farl_hf
        >>> model = AutoModel.from_pretrained("farl-tiny")  # doctest: +SKIP
        >>> processor = AutoProcessor.from_pretrained("farl-tiny")  # doctest: +SKIP
        >>> faces = farl_hf.explain(model, processor, "photo.jpg", ["a smile", "eyeglasses"])  # doctest: +SKIP
        >>> heat_map = faces[0].photo_map("a smile")  # doctest: +SKIP
    """
    check_batch_size(batch_size)
    names, heat_maps = _heat_maps(model, processor, texts, method, layer, prompts)
    cutter = FaceCutter(model, processor, aligned, detector, threshold=threshold)
    cut = cutter(image)
    explained = []
    for start in range(0, len(cut.faces), batch_size):
        pixel_values = cut.pixel_values[start : start + batch_size].to(model.device, model.dtype)
        with evaluating(model):
            scores_FK, patch_maps_FKhw = heat_maps(pixel_values)
        explained += _explanations(names, scores_FK, patch_maps_FKhw, cut, start, cutter.image_processor)
    return explained


def _heat_maps(
    model: Any, processor: Any, texts: str | Sequence[str], method: str, layer: str | None, prompts: Sequence[str]
) -> tuple[tuple[str, ...], Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]]:
    """Check the arguments. Return the names, and a function: network inputs -> scores (F, K), maps (F, K, h, w)."""
    check_name("method", method, METHODS)
    vision_model = vision_model_of(model)
    if method == "grad_cam":
        with evaluating(model):
            scores = explained_scores(model, processor, texts, prompts)
        last = None if scores.class_token_only else max(model.config.feature_levels)
        layer = layer or default_layer(vision_model, last)
        find_layer(vision_model, layer, scores.class_token_only, last)  # before any photo is read
        return scores.names, partial(grad_cam, vision_model, scores, layer)
    if texts is not None and len(texts):
        raise InvalidTextError("attention_rollout is the same for every text; call it without texts.")
    return ("attention",), partial(_rollout_without_scores, vision_model)


def _rollout_without_scores(vision_model: Any, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((len(pixel_values), 1), torch.nan), attention_rollout(vision_model, pixel_values)


def _explanations(
    names: tuple[str, ...], scores_FK: Any, patch_maps_FKhw: Any, cut: FaceCrops, start: int, image_processor: Any
) -> list[FaceExplanation]:
    crop_maps = _over_crop(patch_maps_FKhw, image_processor.size_hw).cpu().numpy()
    scores, patch_maps = scores_FK.cpu().numpy(), patch_maps_FKhw.cpu().numpy()
    return [
        FaceExplanation(
            names,
            scores[row],
            patch_maps[row],
            crop_maps[row],
            cut.crop_from_photo[start + row].numpy(),
            np.array(cut.faces.boxes_xyxy[start + row]),
            cut.photo_size_hw,
            image_processor,
        )
        for row in range(len(scores))
    ]


def _over_crop(patch_maps_FKhw: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear, then each map scaled so that its lowest value is 0 and its highest 1; constant maps become 0."""
    maps = interpolate(patch_maps_FKhw, size=size_hw, mode="bilinear", align_corners=False)
    maps = maps - maps.amin(dim=(-2, -1), keepdim=True)
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(highest > 0, maps / highest.clamp(min=torch.finfo(maps.dtype).tiny), 0)
