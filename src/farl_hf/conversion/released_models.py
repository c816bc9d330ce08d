"""The released files: what each is, where it comes from, what is known about it. One row per name.

Scores: README (lines 120-137) and logs of github.com/FacePerceiver/FaRL at 3fb4694, comments in the code of pyfacer
0.0.5, README (lines 8-22 and 72) of github.com/biubug6/Pytorch_Retinaface at b984b4b.
"""

from dataclasses import dataclass

from farl_hf.errors import check_name


@dataclass(frozen=True)
class Score:
    """A published number: what was measured, its value, who says so and under which conditions."""

    measure: str
    value: str
    source: str


@dataclass(frozen=True)
class ReleasedModel:
    """One released file.

    Args:
        kind (`str`): As in [`ModelKind`].
        outputs (`int` or `str`): Classes, points or attributes; the body of a detector; 0 for encoders.
        file_name (`str`): Name of the file on its release page.
        release (`str`): Its repository.
        summary (`str`): One sentence.
        datasets (`tuple[str, ...]`): What it was trained on.
        scores (`tuple[Score, ...]`): What was published.
        sha256 (`str`, *optional*): Checksum of the file, where one is known. Without it, no file can be verified.
    """

    kind: str
    outputs: int | str
    file_name: str
    release: str
    summary: str
    datasets: tuple[str, ...]
    scores: tuple[Score, ...]
    sha256: str | None = None


_FARL, _FACER = "FacePerceiver/FaRL", "FacePerceiver/facer"
_README = "FaRL README, lines 122-137, fine-tuned at 448; the best epoch on the test split"


def _farl_scores(lapa, celebamask, aflw19, w300, wflw):
    return (
        Score("LaPa, mean F1", lapa, _README),
        Score("CelebAMask-HQ, mean F1", celebamask, _README),
        Score("AFLW-19 full, NME diag", aflw19, _README),
        Score("300W full, NME inter-ocular", w300, _README),
        Score("WFLW full, NME inter-ocular", wflw, _README),
    )


def _wider(easy, medium, hard, source):
    return tuple(
        Score(f"WIDER FACE val, AP {level}", value, source)
        for level, value in (("easy", easy), ("medium", medium), ("hard", hard))
    )


RELEASED_MODELS = {
    "farl-ep16": ReleasedModel(
        "two_towers",
        0,
        "FaRL-Base-Patch16-LAIONFace20M-ep16.pth",
        _FARL,
        "FaRL, ViT-B/16, pre-trained for 16 epochs on 20 million face-text pairs; the model of the paper.",
        ("LAION-Face 20M",),
        _farl_scores("93.88", "89.56", "0.943", "2.93", "3.96"),
    ),
    "farl-ep64": ReleasedModel(
        "two_towers",
        0,
        "FaRL-Base-Patch16-LAIONFace20M-ep64.pth",
        _FARL,
        "FaRL, ViT-B/16, pre-trained for 64 epochs on 20 million face-text pairs.",
        ("LAION-Face 20M",),
        _farl_scores("94.04", "89.57", "0.938", "2.88", "3.88"),
    ),
    "farl-lapa-448": ReleasedModel(
        "parsing",
        11,
        "face_parsing.farl.lapa.main_ema_136500_jit191.pt",
        _FACER,
        "FaRL fine-tuned for face parsing, LaPa's eleven classes, at 448 pixels.",
        ("LAION-Face 20M", "LaPa"),
        (
            Score("LaPa test, mean F1", "93.88", "FaRL README, line 123, paper's run, best epoch on the test split"),
            Score("LaPa test, mean F1", "93.81", "FaRL logs/paper, epoch 300, to which the file's name points"),
        ),
    ),
    "farl-celebm-448": ReleasedModel(
        "parsing",
        19,
        "face_parsing.farl.celebm.main_ema_181500_jit.pt",
        _FACER,
        "FaRL fine-tuned for face parsing, CelebAMask-HQ's nineteen classes, at 448 pixels.",
        ("LAION-Face 20M", "CelebAMask-HQ"),
        (
            Score(
                "CelebAMask-HQ test, mean F1",
                "89.56",
                "FaRL README, line 122, paper's run, best epoch on the test split",
            ),
            Score("CelebAMask-HQ test, mean F1", "88.74", "FaRL logs/paper, epoch 300, to which the name points"),
        ),
    ),
    "farl-ibug300w-448": ReleasedModel(
        "landmarks",
        68,
        "face_alignment.farl.ibug300w.main_ema_jit.pt",
        _FACER,
        "FaRL fine-tuned for 68 face landmarks at 448 pixels.",
        ("LAION-Face 20M", "300W"),
        (
            Score(
                "300W full, NME inter-ocular",
                "2.8835",
                "pyfacer 0.0.5, facer/face_alignment/farl.py, line 14, epoch 60",
            ),
        ),
    ),
    "farl-wflw-448": ReleasedModel(
        "landmarks",
        98,
        "face_alignment.farl.wflw.main_ema_jit.pt",
        _FACER,
        "FaRL fine-tuned for 98 face landmarks at 448 pixels.",
        ("LAION-Face 20M", "WFLW"),
        (
            Score(
                "WFLW full, NME inter-ocular",
                "3.8933",
                "pyfacer 0.0.5, facer/face_alignment/farl.py, line 39, epoch 20",
            ),
        ),
    ),
    "farl-aflw19-448": ReleasedModel(
        "landmarks",
        19,
        "face_alignment.farl.aflw19.main_ema_jit.pt",
        _FACER,
        "FaRL fine-tuned for 19 face landmarks at 448 pixels.",
        ("LAION-Face 20M", "AFLW-19"),
        (Score("AFLW-19 full, NME diag", "0.9329", "pyfacer 0.0.5, facer/face_alignment/farl.py, line 27, epoch 15"),),
    ),
    "farl-celeba-224": ReleasedModel(
        "attributes",
        40,
        "face_attribute.farl.celeba.pt",
        _FACER,
        "FaRL fine-tuned for the forty attributes of CelebA, at 224 pixels.",
        ("LAION-Face 20M", "CelebA"),
        (Score("CelebA, mean accuracy", "92.07", "pyfacer 0.0.5, facer/face_attribute/farl.py, line 34"),),
    ),
    "retinaface-mobilenet": ReleasedModel(
        "detection",
        "mobilenet_v1",
        "mobilenet0.25_Final.pth",
        "elliottzheng/face-detection",
        "RetinaFace with a MobileNetV1-0.25 body: faces with five points.",
        ("WIDER FACE",),
        _wider("88.67", "87.09", "80.99", "Pytorch_Retinaface README, line 19, sizes as in the MXNet original"),
    ),
    "retinaface-resnet50": ReleasedModel(
        "detection",
        "resnet",
        "Resnet50_Final.pth",
        "elliottzheng/face-detection",
        "RetinaFace with a ResNet-50 body: faces with five points.",
        ("WIDER FACE",),
        _wider("95.48", "94.04", "84.43", "Pytorch_Retinaface README, line 12, original image size"),
    ),
    "retinaface-mobilenet-imagenet": ReleasedModel(
        "detector_body",
        "mobilenet_v1",
        "mobilenetV1X0.25_pretrain.tar",
        "biubug6/Pytorch_Retinaface",
        "MobileNetV1-0.25, trained on ImageNet: the body from which the training of the original detector starts.",
        ("ImageNet",),
        (Score("ImageNet, top 1", "46.58", "Pytorch_Retinaface README, line 72"),),
        # 3,827,150 bytes; of the copy in `weights/` of github.com/thflgg133/RetinaFace-optimization.
        "75c37f8d438b7c6aed2e6b310fd0540c40dabf0dd820770bd7082668dfd7c1c1",
    ),
}


def released_model(name: str) -> ReleasedModel:
    """
    The row of a name.

    Raises:
        UnknownNameError: There is no such name; the message lists them.
    """
    check_name("released model", name, RELEASED_MODELS)
    return RELEASED_MODELS[name]
