"""What differs between training a parser, a landmark model and an attribute model, as a table."""

from dataclasses import dataclass

from farl_hf.modeling.modeling_farl_attributes import FaRLForAttributes
from farl_hf.modeling.modeling_farl_landmarks import FaRLForLandmarks
from farl_hf.modeling.modeling_farl_parsing import FaRLForFaceParsing
from farl_hf.processing.face_templates_farl import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE

__all__ = ["FACE_TASK_SETTINGS", "FaceTask"]


@dataclass(frozen=True)
class FaceTask:
    """Defaults of one task.

    Args:
        name (`str`): Name in [`FaceSamples`] and [`make_evaluation`].
        model_class (`type`): Model.
        official_augmentation, synthetic_augmentation (`str`): Recipes for photographs and for rendered faces.
        warp_factor (`float`): alpha of the tanh warp.
        face_template (`list`): Where the five points go.
        face_scale (`float`): Scale of the template.
    """

    name: str
    model_class: type
    official_augmentation: str
    synthetic_augmentation: str
    warp_factor: float
    face_template: tuple
    face_scale: float


FACE_TASK_SETTINGS = {
    "parsing": FaceTask(
        name="parsing",
        model_class=FaRLForFaceParsing,
        official_augmentation="lapa_parsing",
        synthetic_augmentation="synthetic_parsing",
        warp_factor=0.8,
        face_template=LAPA_TEMPLATE,
        face_scale=1.0,
    ),
    "landmarks": FaceTask(
        name="landmarks",
        model_class=FaRLForLandmarks,
        official_augmentation="w300_landmarks",
        synthetic_augmentation="synthetic_landmarks",
        warp_factor=0.0,
        face_template=LAPA_TEMPLATE,
        face_scale=0.8,  # the jaw stays inside under rotation; facer's alignment uses the same
    ),
    "attributes": FaceTask(
        name="attributes",
        model_class=FaRLForAttributes,
        official_augmentation="celeba_attributes",
        synthetic_augmentation="synthetic_attributes",
        warp_factor=0.0,
        face_template=ATTRIBUTE_TEMPLATE,
        face_scale=1.0,
    ),
}
