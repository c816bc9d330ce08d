"""The published weights that have a name: where each file lies, how large it is, and under which licence.

Addresses: the releases of FacePerceiver/FaRL and FacePerceiver/facer, and the files that facer fetches for its
detectors. No project publishes checksums of its files, so the first file that converts is the measure of later ones.
"""

from dataclasses import dataclass

from farl_hf.conversion.released_models import RELEASED_MODELS

__all__ = ["ALIASES", "OFFICIAL_MODELS", "OfficialModel"]


@dataclass(frozen=True)
class OfficialModel:
    """A published file of weights.

    Args:
        task (`str`): The pipeline that the converted checkpoint serves.
        file_name (`str`): What the file is called.
        project (`str`): The repository that released it.
        address (`str`): Where it is.
        approximate_bytes (`int`, *optional*): About how large it is; the server says it exactly.
        sha256 (`str`, *optional*): What its content must have; unknown where none was published.
        licence (`str`): SPDX name of the project's licence. Data sets behind the weights have terms of their own.
    """

    task: str
    file_name: str
    project: str
    address: str
    approximate_bytes: int | None
    sha256: str | None
    licence: str = "MIT"


# Repository -> the folder of its release.
_RELEASES = {
    "FacePerceiver/FaRL": "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights",
    "FacePerceiver/facer": "https://github.com/FacePerceiver/facer/releases/download/models-v1",
    "elliottzheng/face-detection": "https://github.com/elliottzheng/face-detection/releases/download/0.0.1",
}

_TASKS = {
    "two_towers": "zero-shot-image-classification",
    "parser": "face-parsing",
    "aligner": "face-landmarks",
    "attributes": "face-attributes",
    "detector": "face-detection",
}

# Name -> bytes, sha256. Bytes: four for each parameter of the architecture; a TorchScript archive adds its code.
_FILES = {
    "farl-ep16": (652_000_000, None),
    "farl-ep64": (652_000_000, None),
    "farl-lapa-448": (643_000_000, None),
    "farl-celebm-448": (643_000_000, None),
    "farl-ibug300w-448": (643_000_000, None),
    "farl-wflw-448": (643_000_000, None),
    "farl-aflw19-448": (643_000_000, None),
    "farl-celeba-224": (343_000_000, None),
    "retinaface-mobilenet": (1_700_000, None),
    "retinaface-resnet50": (109_000_000, None),
}


def _official_model(name: str) -> OfficialModel:
    released = RELEASED_MODELS[name]
    address = f"{_RELEASES[released.release]}/{released.file_name}"
    return OfficialModel(_TASKS[released.kind], released.file_name, released.release, address, *_FILES[name])


OFFICIAL_MODELS = {name: _official_model(name) for name in RELEASED_MODELS}

# A second name for one of the above.
ALIASES = {"farl": "farl-ep64"}
