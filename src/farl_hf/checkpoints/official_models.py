"""The published weights that have a name: which file each is, where it lies, and under which licence.

Addresses: the releases of FacePerceiver/FaRL and FacePerceiver/facer, and the files that facer fetches for its
detectors. No project publishes checksums of its files, so the first file that converts is the measure of later ones.
"""

from dataclasses import dataclass

__all__ = ["ALIASES", "OFFICIAL_MODELS", "OfficialModel"]

_FARL = ("https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/", "FacePerceiver/FaRL")
_FACER = ("https://github.com/FacePerceiver/facer/releases/download/models-v1/", "FacePerceiver/facer")
_RETINAFACE = ("https://github.com/elliottzheng/face-detection/releases/download/0.0.1/", "biubug6/Pytorch_Retinaface")
_EMBEDDING = "zero-shot-image-classification"


@dataclass(frozen=True)
class OfficialModel:
    """A published file of weights.

    Args:
        task (`str`): The pipeline that the converted checkpoint serves.
        address (`str`): Where the file is.
        project (`str`): Owner and name of the project that trained it.
        approximate_bytes (`int`, *optional*): About how large the file is; the server says it exactly.
        licence (`str`): SPDX name of the project's licence. Data sets behind the weights have terms of their own.
        sha256 (`str`, *optional*): What its content must have; unknown where the project publishes none.
    """

    task: str
    address: str
    project: str
    approximate_bytes: int | None = None
    licence: str = "MIT"
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.address.rpartition("/")[2]


def _published(task: str, release: tuple[str, str], file_name: str, approximate_bytes: int | None) -> OfficialModel:
    folder, project = release
    return OfficialModel(task, folder + file_name, project, approximate_bytes)


# Sizes: four bytes for each parameter of the architecture; a TorchScript archive adds its code to that.
OFFICIAL_MODELS = {
    "farl-ep16": _published(_EMBEDDING, _FARL, "FaRL-Base-Patch16-LAIONFace20M-ep16.pth", 652_000_000),
    "farl-ep64": _published(_EMBEDDING, _FARL, "FaRL-Base-Patch16-LAIONFace20M-ep64.pth", 652_000_000),
    "farl-lapa-448": _published(
        "face-parsing", _FACER, "face_parsing.farl.lapa.main_ema_136500_jit191.pt", 643_000_000
    ),
    "farl-celebm-448": _published(
        "face-parsing", _FACER, "face_parsing.farl.celebm.main_ema_181500_jit.pt", 643_000_000
    ),
    "farl-ibug300w-448": _published(
        "face-landmarks", _FACER, "face_alignment.farl.ibug300w.main_ema_jit.pt", 643_000_000
    ),
    "farl-wflw-448": _published("face-landmarks", _FACER, "face_alignment.farl.wflw.main_ema_jit.pt", 643_000_000),
    "farl-aflw19-448": _published("face-landmarks", _FACER, "face_alignment.farl.aflw19.main_ema_jit.pt", 643_000_000),
    "farl-celeba-224": _published("face-attributes", _FACER, "face_attribute.farl.celeba.pt", 343_000_000),
    "retinaface-mobilenet": _published("face-detection", _RETINAFACE, "mobilenet0.25_Final.pth", 1_700_000),
    "retinaface-resnet50": _published("face-detection", _RETINAFACE, "Resnet50_Final.pth", 109_000_000),
}

# A second name for one of the above.
ALIASES = {"farl": "farl-ep64"}
