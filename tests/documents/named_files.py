"""The files and folders that the documents name: toys that stand in for photos, data sets and checkpoints.

Each row of `NAMED_FILES` is a pattern and what is written where it occurs in a block. Nothing else is set up.
"""

import re
import shutil
from pathlib import Path
from unittest.mock import patch

import conversion_sources as sources
import datasets
import numpy as np
import raw_layouts
import torch
from face_rows import make_face_dataset
from laion_face_metadata import write_ids, write_part
from laion_shards import write_detections, write_shard
from PIL import Image
from skimage import data
from toy_checkpoints import FACE_MODELS
from video_files import moved_face, write_video

from farl_hf import (
    FaRLConfig,
    FaRLImageProcessor,
    FaRLModel,
    FaRLProcessor,
)
from farl_hf.cli.demo import GROUP_PHOTO
from farl_hf.conversion import convert_checkpoint
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.hub import plan_repository

ROOT = Path(__file__).resolve().parents[2]
# Twelve blocks, so that the paper's levels exist.
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4}
SIZE = {"height": 64, "width": 64}
TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}


def link(path):
    path.symlink_to(ROOT / path.name)


def photo(path):
    if path.suffix == ".png":
        Image.new("L", (112, 112), 1).save(path)
    else:
        Image.fromarray(data.astronaut()).crop((100, 0, 356, 256)).save(path)


def drawn_photo(path):
    """A photo of 112 x 112 pixels; the points in the document are a face's."""
    Image.fromarray(data.astronaut()).crop((170, 70, 282, 182)).save(path)


def holiday(path):
    path.mkdir()
    photo(path / "beach.jpg")
    video(path / "party.mp4")


def video(path):
    write_video(path, [moved_face(20 + 2 * index, 10) for index in range(12)])


def group(path):
    shutil.copy(GROUP_PHOTO, path)


# LaPa's points of eyes, nose tip and corners of the mouth, as far apart as a face's.
LAPA_POINTS = {104: (130, 150), 105: (230, 150), 54: (180, 200), 84: (140, 250), 90: (220, 250)}


def published(write):
    """A data set in its owners' layout, with photos in which the points lie and faces for a batch."""

    def write_folder(path):
        with (
            patch.object(raw_layouts, "PHOTO_SIZE_WH", (360, 360)),
            patch.object(raw_layouts, "lapa_point", lambda i: LAPA_POINTS.get(i, (2 * i, i + 0.25))),
        ):
            write(path)

    return write_folder


def lapa(path):
    raw_layouts.write_lapa(path, counts=(12, 2, 2))


def wflw(path):
    """Twelve faces to train with; neighbouring points, such as the pupils, are far apart."""
    xy = np.random.default_rng(0).integers(60, 300, (98, 2)).astype(float).tolist()
    points = [f"{x},{y}" for x, y in xy]
    with (
        patch.object(raw_layouts, "WFLW_TRAIN", raw_layouts.WFLW_TRAIN * 4),
        patch.object(raw_layouts, "hrnet_line", lambda image, *_: ",".join([image, "1.0", "180.0", "180.0", *points])),
    ):
        raw_layouts.write_wflw_hrnet(path)


def my_faces(path):
    splits = {"train": make_face_dataset(8), "test": make_face_dataset(4, first_index=100)}
    datasets.DatasetDict(splits).save_to_disk(str(path))


def two_towers(path):
    """A FaRL checkpoint."""
    torch.manual_seed(0)
    config = FaRLConfig(vision_config=VISION, text_config=TEXT, projection_dim=16, head_channels=16)
    FaRLModel(config).save_pretrained(path)
    image_processor = FaRLImageProcessor(size=SIZE)
    FaRLProcessor(image_processor, make_clip_tokenizer()).save_pretrained(path)
    image_processor.save_pretrained(path)


def head(task):
    """A checkpoint of a face task."""

    def write_folder(path):
        model_class, names, warp_factor = FACE_MODELS[task]
        labels = dict(enumerate(names))
        config = FaRLConfig(
            vision_config=VISION, head_channels=16, id2label=labels, label2id={name: i for i, name in labels.items()}
        )
        torch.manual_seed(0)
        model_class(config).save_pretrained(path)
        FaRLImageProcessor(size=SIZE, warp_factor=warp_factor).save_pretrained(path)

    return write_folder


def repository(write):
    """A repository with its code, as it was pushed."""

    def write_folder(path):
        write(path.with_name("plain"))
        for file in plan_repository(path.with_name("plain")).files:
            (path / file.path).parent.mkdir(parents=True, exist_ok=True)
            content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
            (path / file.path).write_bytes(content)
        shutil.rmtree(path.with_name("plain"))

    return write_folder


def moco(path):
    """A file of MoCo v3: the encoder, the momentum encoder and the predictor."""
    import timm

    torch.manual_seed(0)
    sizes = {"embed_dim": 128, "depth": 12, "num_heads": 2, "num_classes": 0}
    encoder = timm.create_model("vit_base_patch16_224", **sizes)
    encoder.pos_embed.data[:, 0] = 0
    weights = {f"module.base_encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights |= {name.replace("base", "momentum"): value for name, value in weights.items()}
    torch.save({"epoch": 300, "arch": "vit_base", "state_dict": weights, "optimizer": {}}, path)


def converted_moco(path):
    moco(path.with_name("moco.pth.tar"))
    convert_checkpoint(path.with_name("moco.pth.tar"), path)


def backbone_file(path):
    sources.write_two_towers(path, sources.make_two_towers())


def parsing_archive(path):
    sources.write_parsing(path, sources.make_parsing_network(resolution=448), (512, 512))


def laion_face(path):
    write_shard(path)
    write_detections(path, [0])


def metadata(path):
    for part in range(32):
        write_part(path, part, count=30)


def stylegan(path):
    """A synthesis network or a mapping network as TorchScript."""

    class Synthesis(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return latents.mean(dim=(1, 2))[:, None, None, None].expand(-1, 3, 64, 64)

    class Mapping(torch.nn.Module):
        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            return noise[:, None].expand(-1, 18, -1)

    torch.jit.save(torch.jit.script(Synthesis() if path.stem == "synthesis" else Mapping()), str(path))


NAMED_FILES = {
    # Photos and videos
    r"(?<=[\s\"])(?:photo|portrait)\.jpg": photo,
    r"(?<=\")[ab]\.(?:jpg|png)": drawn_photo,
    r"group\.jpg": group,
    r"(?<= )holiday/": holiday,
    r"clip\.mp4": video,
    # Data sets
    r"data/LaPa\b": published(lapa),
    r"data/WFLW\b": published(wflw),
    r"data/300W\b": published(raw_layouts.write_w300),
    r"data/CelebA\b(?!M)": published(raw_layouts.write_celeba),
    r"data/CelebAMask-HQ\b": published(raw_layouts.write_celebamask_hq),
    r"(?<=--data-dir )laion_face/|(?<=detect )laion_face/|(?<=\")laion_face(?=\")": laion_face,
    r"laion400m-meta\w*/": metadata,
    r"laion_face_ids\.pth": lambda path: write_ids(path, 32, count=30),
    r"(?<=--dataset )my-faces": my_faces,
    # Checkpoints
    r"(?<=evaluate )runs/lapa_448_finetuned": head("face-parsing"),
    r"(?<=push )runs/parsing(?= )|runs/parsing/checkpoint-500": head("face-parsing"),
    r"(?<=model=\")me/my-parsing-model": repository(head("face-parsing")),
    r"(?<=\()?me/my-farl": repository(two_towers),
    r"(?<=--model )farl(?= )": two_towers,
    r"(?<=\")farl-lapa-448": head("face-parsing"),
    r"(?<=\")mocov3": converted_moco,
    # Published files
    r"vit-b-300ep\.pth\.tar": moco,
    r"FaRL-Base-Patch16-LAIONFace20M-ep64\.pth": backbone_file,
    r"face_parsing\.farl\.lapa\.main_ema_136500_jit191\.pt": parsing_archive,
    r"(?:synthesis|mapping)\.pt": stylegan,
}


# The checkpoint that the recipes of the paper start from.
START_OF_RECIPES = (re.compile(r"_(?:finetuned|frozen)\b"), "farl-ep16", two_towers)


def set_up(folder, text):
    """Writes what a block or command names into an empty folder, which is its home too."""
    pattern, name, write = START_OF_RECIPES
    if pattern.search(text):
        write(folder / name)
    for pattern, write in NAMED_FILES.items():
        for name in sorted({match.rstrip("/") for match in re.findall(pattern, text)}):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / name).exists():
                write(folder / name)
    for name in ("examples", "benchmarks", "docs", "tests"):
        if re.search(rf"\b{name}\b", text):
            link(folder / name)
