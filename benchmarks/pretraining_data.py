"""Samples of pre-training per second of one core: aligned 224-pixel crops from 512-pixel JPEG photographs.

    python -m benchmarks.pretraining_data [--samples N] [--json FILE]

All figures are processor time of one thread, so that other load on the machine matters little. Measured are the
transform alone (decoding, one warp, 112-pixel crop, block mask, tokens), its parts, the stream (tar, JSON, faces,
transform), a face that fills a large photo, the search through the tar of a shard, and the conversion of
`sample2detect_*.pth` to arrays. Prints a table.
"""

import argparse
import io
import itertools
import json
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from farl_hf import FaRLImageProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer
from farl_hf.data.laion_face.detections import face_table_folder
from farl_hf.data.laion_face.shards import find_members, find_shards
from farl_hf.data.laion_face.stream import PretrainingStream
from farl_hf.data.samples.pretraining_samples import PretrainingTransform
from farl_hf.photos import ReducedPhoto
from farl_hf.processing.face_geometry_farl import ATTRIBUTE_TEMPLATE

PER_SHARD = 200
# Five points of the face in scikit-image's photograph of an astronaut, 512 x 512 pixels.
ASTRONAUT_POINTS = np.array([[203, 112], [246, 107], [228, 135], [211, 158], [248, 154]], np.float32)
CAPTION = "Portrait of an astronaut in an orange suit, smiling, before a flag and the model of a space shuttle"


def astronaut_jpeg(side: int = 512) -> bytes:
    """A photograph as img2dataset stores it: JPEG of quality 95."""
    photo = cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def make_transform() -> PretrainingTransform:
    """The paper's sizes: crops of 224 pixels, 112 for the visual tokenizer, 14 x 14 patches."""
    processor = FaRLImageProcessor(size={"height": 224, "width": 224}, face_template=ATTRIBUTE_TEMPLATE)
    return PretrainingTransform(processor, make_clip_tokenizer(), codebook_size=112, mask_grid_hw=(14, 14))


def row(index: int, side: int = 512, enlarged: float = 1.0) -> dict:
    """A row whose face is `enlarged` times as large as in the photograph."""
    scale = side / 512
    points = (ASTRONAUT_POINTS - 128) * enlarged + 128
    return {
        "image": {"bytes": astronaut_jpeg(side)},
        "points5_xy": points[None] * scale,
        "caption": CAPTION,
        "index": index,
    }


def rate(make: Callable[[int], object], count: int) -> float:
    """Calls per second of processor time."""
    for index in range(5):
        make(index)
    start = time.process_time()
    for index in range(count):
        make(index)
    return count / (time.process_time() - start)


def write_shards(root: Path, num_shards: int) -> None:
    """Shards as img2dataset writes them, all with the same photograph."""
    picture = astronaut_jpeg()
    face = (np.float32([180, 60, 270, 190]), ASTRONAUT_POINTS, np.float32(0.99))
    for shard in range(num_shards):
        path = root / "split_00000" / f"{shard:05d}.tar"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for number in range(PER_SHARD):
                metadata = {"SAMPLE_ID": shard * PER_SHARD + number, "width": 512, "original_width": 512}
                members = {"jpg": picture, "txt": CAPTION.encode(), "json": json.dumps(metadata).encode()}
                for suffix, content in members.items():
                    info = tarfile.TarInfo(f"{shard:05d}{number:04d}.{suffix}")
                    info.size, info.mtime = len(content), time.time()
                    tar.addfile(info, io.BytesIO(content))
    torch.save({number: [face] for number in range(num_shards * PER_SHARD)}, root / "sample2detect_0.pth")


def stream_rates(transform: PretrainingTransform, count: int) -> dict[str, float]:
    """Samples per second through the stream, samples per second of the search through a tar."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_shards(root, num_shards=3)
        stream = iter(PretrainingStream(find_shards(root, cache_dir=root / "cache"), transform))
        return {
            "stream, samples/s": rate(lambda _: next(stream), count),
            "search through a tar, samples/s": PER_SHARD
            * rate(lambda _: find_members(root / "split_00000" / "00000.tar"), 10),
        }


def face_table_costs(num_samples: int = 20_000) -> dict[str, float]:
    """Turning `sample2detect_*.pth` into arrays: speed, memory and disk per sample of 1.5 faces."""
    face = (np.float32([180, 60, 270, 190]), ASTRONAUT_POINTS, np.float32(0.99))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample2detect_0.pth")
        faces = [
            tuple(np.array(part) if np.ndim(part) else part for part in face) for _ in range(num_samples * 3 // 2)
        ]
        left = iter(faces)
        torch.save({number: list(itertools.islice(left, 1 + number % 2)) for number in range(num_samples)}, path)
        del faces, left
        before, start = peak_bytes(), time.process_time()
        table = face_table_folder(path, folder)
        seconds = time.process_time() - start
        return {
            "faces to arrays, samples/s": num_samples / seconds,
            "faces to arrays, more memory in bytes/sample": (peak_bytes() - before) / num_samples,
            "arrays on disk, bytes/sample": sum(file.stat().st_size for file in Path(table).iterdir()) / num_samples,
        }


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_pretraining_data(count: int = 500) -> dict[str, float]:
    """All figures by name, on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    transform = make_transform()
    costs = face_table_costs()  # first: the peak of memory is that of the whole process
    rows = [row(index) for index in range(8)]
    large = row(0, side=2048, enlarged=3.0)
    batch = {key: [single[key] for single in rows] for key in rows[0]}
    figures = {
        "transform, batches of 8, samples/s": 8 * rate(lambda _: transform(batch), count // 8),
        "transform, single, samples/s": rate(lambda i: transform.sample(rows[i % 8]), count),
        "decoding alone, photos/s": rate(lambda i: ReducedPhoto(rows[i % 8]["image"]).decode(1.0), count),
        "face filling 2048 px, decoded smaller, samples/s": rate(lambda _: transform.sample(large), count // 5),
        "2048 px decoded in full, photos/s": rate(lambda _: ReducedPhoto(large["image"]).decode(1.0), count // 10),
    }
    return figures | stream_rates(transform, count) | costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500, help="Samples per figure.")
    parser.add_argument("--json", type=Path, help="Also write the figures there.")
    args = parser.parse_args()
    figures = measure_pretraining_data(args.samples)
    print("| figure | value |\n|---|---:|")
    for name, value in figures.items():
        print(f"| {name} | {value:,.0f} |")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
