"""The published data sets as a table: where each comes from, its licence, its folder, its splits and their sizes.

Sources of the counts: the data sets' pages and papers. FaRL's logs agree where they show them:
steps per epoch, 455 of 40 faces for LaPa (logs/paper, face_parsing.train_lapa_farl-b-ep16_448_refinebb).
"""

import importlib
from dataclasses import dataclass
from typing import Any

from farl_hf.errors import check_name


@dataclass(frozen=True)
class PublishedDataset:
    """What there is to know about a data set before its folder is opened.

    Args:
        title (`str`): Its name in papers.
        builder (`str`): Module and class that read it.
        url (`str`): Where its owners give it away.
        licence (`str`): What it may be used for.
        layout (`str`): What its folder holds, for people.
        signature (`tuple[str, ...]`): Paths in the folder; a folder that has one of them is one of this data set.
        unit (`str`): What `counts` counts, `"photos"` or `"faces"`.
        counts (`dict[str, int]`): Published size of each split.
        needs (`tuple[str, ...]`): Third-party modules that reading it takes, of the extra `data`.
    """

    title: str
    builder: str
    url: str
    licence: str
    layout: str
    signature: tuple[str, ...]
    unit: str
    counts: dict[str, int]
    needs: tuple[str, ...] = ()

    def builder_class(self) -> Any:
        """The `datasets` builder."""
        module, name = self.builder.split(":")
        return getattr(importlib.import_module(f"farl_hf.data.datasets.{module}"), name)


_WFLW_COUNTS = {
    "train": 7_500,
    "test": 2_500,
    "test_largepose": 326,
    "test_expression": 314,
    "test_illumination": 698,
    "test_makeup": 206,
    "test_occlusion": 736,
    "test_blur": 773,
}

PUBLISHED_DATASETS: dict[str, PublishedDataset] = {
    "lapa": PublishedDataset(
        title="LaPa",
        builder="lapa:LaPa",
        url="https://github.com/JDAI-CV/lapa-dataset",
        licence="non-commercial research only",
        layout="train/, val/ and test/, each with images/*.jpg, labels/*.png and landmarks/*.txt",
        signature=("train/landmarks", "val/landmarks", "test/landmarks"),
        unit="photos",
        counts={"train": 18_176, "validation": 2_000, "test": 2_000},
    ),
    "celebamask_hq": PublishedDataset(
        title="CelebAMask-HQ",
        builder="celebamask_hq:CelebAMaskHQ",
        url="https://github.com/switchablenorms/CelebAMask-HQ",
        licence="non-commercial research and education only",
        layout="CelebA-HQ-img/*.jpg, CelebAMask-HQ-mask-anno/{0 … 14}/*.png, CelebA-HQ-to-CelebA-mapping.txt and, if"
        " at hand, CelebA's list_eval_partition.txt",
        signature=("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"),
        unit="photos",
        counts={"train": 24_183, "validation": 2_993, "test": 2_824},
    ),
    "celeba": PublishedDataset(
        title="CelebA",
        builder="celeba:CelebA",
        url="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        licence="non-commercial research only, not to be passed on",
        layout="Img/img_align_celeba/*.jpg (or Img/img_celeba/*.jpg), the .txt files of Anno/ and"
        " Eval/list_eval_partition.txt; the inner folders may be missing, as torchvision unpacks it",
        signature=("Anno/list_attr_celeba.txt", "list_attr_celeba.txt"),
        unit="photos",
        counts={"train": 162_770, "validation": 19_867, "test": 19_962},
    ),
    "lfwa": PublishedDataset(
        title="LFWA",
        builder="lfwa:LFWA",
        url="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        licence="non-commercial research only",
        layout="lfw_att_40.mat, indices_train_test.mat and lfw/<person>/<person>_0001.jpg",
        signature=("lfw_att_40.mat",),
        unit="photos",
        counts={"train": 6_263, "test": 6_880},
        needs=("h5py",),
    ),
    "w300": PublishedDataset(
        title="300W",
        builder="w300:W300",
        url="https://ibug.doc.ic.ac.uk/resources/300-W/ (photos) and"
        " https://github.com/HRNet/HRNet-Facial-Landmark-Detection (face_landmarks_300w_*.csv)",
        licence="non-commercial research only",
        layout="afw/, helen/, ibug/ and lfpw/ (or images/ with these), and face_landmarks_300w_{train, valid,"
        " valid_common, valid_challenge}.csv; Test/ and face_landmarks_300w_test.csv for the private test set",
        signature=("face_landmarks_300w_train.csv", "annotations/face_landmarks_300w_train.csv"),
        unit="faces",
        counts={"train": 3_148, "test": 689, "test_common": 554, "test_challenge": 135, "test_private": 600},
    ),
    "wflw": PublishedDataset(
        title="WFLW",
        builder="wflw:WFLW",
        url="https://wywu.github.io/projects/LAB/WFLW.html (and"
        " https://github.com/HRNet/HRNet-Facial-Landmark-Detection for face_landmarks_wflw_*.csv)",
        licence="research only; its photos are those of WIDER FACE, CC BY-NC-ND 4.0",
        layout="WFLW_images/ (or images/), and face_landmarks_wflw_{train, test, test_blur …}.csv or"
        " WFLW_annotations/list_98pt_rect_attr_train_test/*.txt",
        signature=(
            "WFLW_annotations",
            "face_landmarks_wflw_train.csv",
            "annotations/face_landmarks_wflw_train.csv",
            "list_98pt_rect_attr_train_test",
        ),
        unit="faces",
        counts=_WFLW_COUNTS,
    ),
    "aflw19": PublishedDataset(
        title="AFLW-19",
        builder="aflw19:AFLW19",
        url="https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw (photos, on request) and"
        " https://mmlab.ie.cuhk.edu.hk/projects/compositional.html (AFLWinfo_release.mat)",
        licence="non-commercial research only",
        layout="AFLWinfo_release.mat and data/flickr/{0, 2, 3}/*.jpg",
        signature=("AFLWinfo_release.mat",),
        unit="faces",
        counts={"train": 20_000, "test": 4_386, "test_frontal": 1_314},
        needs=("scipy",),
    ),
    "widerface": PublishedDataset(
        title="WIDER FACE",
        builder="widerface:WiderFace",
        url="http://shuoyang1213.me/WIDERFACE/ (photos) and https://github.com/biubug6/Pytorch_Retinaface (label.txt,"
        " which adds five points per face)",
        licence="CC BY-NC-ND 4.0",
        layout="WIDER_{train, val}/images/ and wider_face_split/wider_face_{train, val}_bbx_gt.txt; or"
        " {train, val}/images/ and {train, val}/label.txt",
        signature=("wider_face_split", "train/label.txt"),
        unit="photos",
        counts={"train": 12_880, "validation": 3_226},
    ),
}


def get_published_dataset(name: str) -> PublishedDataset:
    """The row of a data set.

    Raises:
        UnknownNameError: No such data set; the message lists those that exist.
    """
    check_name("published data set", name, PUBLISHED_DATASETS)
    return PUBLISHED_DATASETS[name]
