"""The README.md of a converted checkpoint: what the weights are, where from, what for, and what not."""

from collections.abc import Mapping

from farl_hf.conversion.released_models import ReleasedModel
from farl_hf.conversion.source_reading import SourceFile

__all__ = ["render_model_card"]

_PIPELINE_TAGS = {
    "two_towers": "zero-shot-image-classification",
    "parser": "image-segmentation",
    "aligner": "keypoint-detection",
    "attributes": "image-classification",
    "detector": "object-detection",
    "encoder": "image-feature-extraction",
}
_TASK_TAGS = {
    "two_towers": "clip",
    "parser": "face-parsing",
    "aligner": "face-landmarks",
    "attributes": "face-attributes",
    "detector": "face-detection",
    "encoder": "backbone",
}
_USES = {
    "two_towers": "Features of faces for training heads, and similarities of faces and texts.",
    "parser": "Labelling the parts of a face in a photo, for editing, drawing and measuring.",
    "aligner": "Finding the landmarks of a face in a photo, for alignment, drawing and measuring.",
    "attributes": "Describing photos in bulk, and as a baseline for research on attributes.",
    "detector": "Finding faces in photos, with the five points that the FaRL models align by.",
    "encoder": "A backbone to train the heads of FaRL on, for comparison with FaRL's own.",
}
_LIMITS = {
    "two_towers": "Trained on pairs from the web: it repeats their prejudices. Input is an aligned face, not a scene.",
    "parser": "Thin parts, hands, jewellery and strong occlusion are labelled less well. Faces must be found first.",
    "aligner": "Hidden points are guessed. Extreme poses are worse than the mean score. Faces must be found first.",
    "attributes": "The labels are opinions of annotators about celebrities ('attractive', 'young', 'male'); they are "
    "neither facts about a person nor balanced over groups.",
    "detector": "Small, blurred and covered faces are missed; things that look like faces are found.",
    "encoder": "Features only; a head must be trained before it says anything about a face.",
}
_PIPELINE_EXAMPLE = 'from transformers import pipeline\n\nfaces = pipeline("{task}", model="{name}")("photo.jpg")'
_MODEL_EXAMPLE = (
    "from transformers import AutoModel, AutoProcessor\n\n"
    'model = AutoModel.from_pretrained("{name}")\nprocessor = AutoProcessor.from_pretrained("{name}")'
)
_ENCODER_EXAMPLE = (
    "from farl_hf import FaRLFeatureMaps, FaRLImageProcessor\n\n"
    'model = FaRLFeatureMaps.from_pretrained("{name}")\nprocessor = FaRLImageProcessor.from_pretrained("{name}")'
)
_FARL_CITATION = """@inproceedings{zheng2022farl,
  title = {General Facial Representation Learning in a Visual-Linguistic Manner},
  author = {Zheng, Yinglin and Yang, Hao and Zhang, Ting and Bao, Jianmin and Chen, Dongdong and Huang, Yangyu and
            Yuan, Lu and Chen, Dong and Zeng, Ming and Wen, Fang},
  booktitle = {CVPR},
  year = {2022}
}"""
_RETINAFACE_CITATION = """@inproceedings{deng2020retinaface,
  title = {RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild},
  author = {Deng, Jiankang and Guo, Jia and Ververas, Evangelos and Kotsia, Irene and Zafeiriou, Stefanos},
  booktitle = {CVPR},
  year = {2020}
}"""


def render_model_card(
    kind: str, title: str, released: ReleasedModel | None, source: SourceFile, described: str, compared: bool
) -> str:
    """
    Write the card.

    Args:
        kind (`str`): As in [`ModelKind`].
        title (`str`): Heading, and what the example loads.
        released (`ReleasedModel`, *optional*): The released file that this is; without it nothing is claimed about
            training data, licence and scores.
        source (`SourceFile`): The converted file.
        described (`str`): What the kind is called in a sentence.
        compared (`bool`): Whether `conversion.json` holds a comparison with the original code.
    """
    sections = [
        _front_matter(kind, released),
        f"# {title}",
        released.summary if released else f"Converted from {source.name}, which has the layout of {described}.",
        f"```python\nimport farl_hf  # makes the model known to Transformers\n{_example(kind, title)}\n```",
        _provenance(released, source, compared),
        _scores(released),
        f"## Intended use\n\n{_USES[kind]} Not for identifying, judging or excluding people.",
        f"## Limits\n\n{_LIMITS[kind]} No measurement per group of people is published.",
        f"## Citation\n\n```bibtex\n{_RETINAFACE_CITATION if kind == 'detector' else _FARL_CITATION}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(kind, released):
    tags = ["face", "retinaface" if kind == "detector" else "farl", _TASK_TAGS[kind]]
    fields: Mapping[str, str] = {
        "license": "mit" if released else "unknown",
        "library_name": "transformers",
        "pipeline_tag": _PIPELINE_TAGS[kind],
        "tags": f"[{', '.join(tags)}]",
    }
    if released:
        fields = {**fields, "datasets": f"[{', '.join(name.replace(' ', '-') for name in released.datasets)}]"}
    return "\n".join(["---", *(f"{key}: {value}" for key, value in fields.items()), "---"])


def _example(kind, name):
    if kind == "two_towers":
        return _MODEL_EXAMPLE.format(name=name)
    if kind == "encoder":
        return _ENCODER_EXAMPLE.format(name=name)
    return _PIPELINE_EXAMPLE.format(task=_TASK_TAGS[kind], name=name)


def _provenance(released, source, compared):
    converted = (
        f"Converted from `{source.name}` ({source.size_bytes:,} bytes, sha256 `{source.sha256}`) without changing a "
        f"value; `conversion.json` says with which versions{' and how it compares with the original code' * compared}."
    )
    if released is None:
        return f"## Origin\n\n{converted} Data, licence and scores of these weights are not known to the converter."
    return (
        f"## Origin\n\nReleased by [{released.release}](https://github.com/{released.release}) as "
        f"`{released.file_name}`, trained on {', '.join(released.datasets)}. Code and weights are released under the "
        f"MIT licence; the data sets have terms of their own, mostly for research only. {converted}"
    )


def _scores(released):
    if released is None:
        return ""
    rows = [f"| {score.measure} | {score.value} | {score.source} |" for score in released.scores]
    note = "These are published numbers; the conversion does not measure them again."
    return "\n".join(["## Published scores", "", "| measure | value | source |", "|---|---|---|", *rows, "", note])
