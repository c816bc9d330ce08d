"""What a model card says of each kind of model: its tags, its use, its limits, how to load it and whom to cite.

Of a path on the machine that wrote the card, only the last part is public.
"""

from pathlib import Path

DETECTOR_KINDS = ("detection", "detector_body")
PIPELINE_TAGS = {
    "two_towers": "zero-shot-image-classification",
    "parsing": "image-segmentation",
    "landmarks": "keypoint-detection",
    "attributes": "image-classification",
    "detection": "object-detection",
    "detector_body": "image-feature-extraction",
    "encoder": "image-feature-extraction",
}
TASK_TAGS = {
    "two_towers": "clip",
    "parsing": "face-parsing",
    "landmarks": "face-landmarks",
    "attributes": "face-attributes",
    "detection": "face-detection",
    "detector_body": "backbone",
    "encoder": "backbone",
}
USES = {
    "two_towers": "Features of faces for training heads, and similarities of faces and texts.",
    "parsing": "Labelling the parts of a face in a photo, for editing, drawing and measuring.",
    "landmarks": "Finding the landmarks of a face in a photo, for alignment, drawing and measuring.",
    "attributes": "Describing photos in bulk, and as a baseline for research on attributes.",
    "detection": "Finding faces in photos, with the five points that the FaRL models align by.",
    "detector_body": "Where the training of a RetinaFace detector starts: `examples/train_face_detection.py`.",
    "encoder": "A backbone to train the heads of FaRL on, for comparison with FaRL's own.",
}
LIMITS = {
    "two_towers": "Trained on pairs from the web: it repeats their prejudices. Input is an aligned face, not a scene.",
    "parsing": "Thin parts, hands, jewellery and strong occlusion are labelled less well. Faces must be found first.",
    "landmarks": "Hidden points are guessed. Extreme poses are worse than the mean score. Faces must be found first.",
    "attributes": "The labels are opinions of annotators about celebrities ('attractive', 'young', 'male'); they are "
    "neither facts about a person nor balanced over groups.",
    "detection": "Small, blurred and covered faces are missed; things that look like faces are found.",
    "detector_body": "It finds no faces: pyramid, context modules and heads must be trained first.",
    "encoder": "Features only; a head must be trained before it says anything about a face.",
}
NOT_FOR = "Not for identifying, judging or excluding people."
PIPELINE_EXAMPLE = 'from transformers import pipeline\n\nfaces = pipeline("{task}", model="{name}")("photo.jpg")'
MODEL_EXAMPLE = (
    "from transformers import AutoModel, AutoProcessor\n\n"
    'model = AutoModel.from_pretrained("{name}")\nprocessor = AutoProcessor.from_pretrained("{name}")'
)
ENCODER_EXAMPLE = (
    "from farl_hf import FaRLFeatureMaps, FaRLImageProcessor\n\n"
    'model = FaRLFeatureMaps.from_pretrained("{name}")\nprocessor = FaRLImageProcessor.from_pretrained("{name}")'
)
BODY_EXAMPLE = "# python examples/train_face_detection.py --model-name-or-path {name} ..."
FARL_CITATION = """@inproceedings{zheng2022farl,
  title = {General Facial Representation Learning in a Visual-Linguistic Manner},
  author = {Zheng, Yinglin and Yang, Hao and Zhang, Ting and Bao, Jianmin and Chen, Dongdong and Huang, Yangyu and
            Yuan, Lu and Chen, Dong and Zeng, Ming and Wen, Fang},
  booktitle = {CVPR},
  year = {2022}
}"""
RETINAFACE_CITATION = """@inproceedings{deng2020retinaface,
  title = {RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild},
  author = {Deng, Jiankang and Guo, Jia and Ververas, Evangelos and Kotsia, Irene and Zafeiriou, Stefanos},
  booktitle = {CVPR},
  year = {2020}
}"""


def usage_example(kind: str, name: str) -> str:
    """Python that loads a model of a kind by its name or folder."""
    if kind == "two_towers":
        return MODEL_EXAMPLE.format(name=name)
    if kind in ("encoder", "detector_body"):
        return (ENCODER_EXAMPLE if kind == "encoder" else BODY_EXAMPLE).format(name=name)
    return PIPELINE_EXAMPLE.format(task=TASK_TAGS[kind], name=name)


def citation_of(kind: str) -> str:
    """BibTeX of the paper behind a kind of model."""
    return RETINAFACE_CITATION if kind in DETECTOR_KINDS else FARL_CITATION


def name_in_public(value: str) -> str:
    """The value; of a path on this machine only its last part. Other relative paths look as a name on the Hub does."""
    return Path(value).name if value.startswith(("/", "~", "./", "../")) or Path(value).is_absolute() else value
