"""`farl-hf laion-face detect`: faces in webdataset shards, one file of detections per shard."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from transformers import pipeline

from farl_hf.checkpoints.checked_loading import read_json_object
from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.conversion.source_reading import file_sha256
from farl_hf.data.laion_face.detections import detections_path, write_detections
from farl_hf.data.laion_face.shards import OpenShard, Shard, SkippedSampleError, sample_id_of, skip_reason, tars_in
from farl_hf.data.recorded_files import read_record
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, UnreadablePhotoError, UnsuitableModelError
from farl_hf.laion_face.job_engines import Engine, JobOutcome, run_jobs
from farl_hf.photos import ReducedPhoto
from farl_hf.results import Faces

DETECTION = "face-detection"
# Decoded photos of a batch take half a gigabyte at most.
MAX_BATCH_PIXELS = 2**27


class ShardDetector:
    """A worker of `run_jobs`: detects the faces of one shard, or keeps its finished file.

    Args:
        model (`str`, *optional*): Name or folder of a checkpoint; the default detector if not given.
        batch_size (`int`, *optional*, defaults to 16): Photos at a time. Those of one input size share a forward pass.
        threshold (`float`, *optional*): Least score; the checkpoint's own if not given.
        device (`str`, *optional*): Where the network runs; a GPU if there is one.

    Raises:
        UnknownNameError, NotDownloadedError, NotACheckpointError: There is no such checkpoint.
        UnsuitableModelError: It finds no faces.
        InvalidArgumentError: It cannot run on the device.
    """

    def __init__(
        self,
        model: str | None = None,
        batch_size: int = 16,
        threshold: float | None = None,
        device: str | None = None,
    ):
        folder = detector_folder(model)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.find_faces: Any = pipeline(DETECTION, str(folder), device=device)  # type: ignore[call-overload]  # ours
        except (RuntimeError, AssertionError) as error:  # PyTorch's words for devices that do not exist
            raise InvalidArgumentError(f"The detector cannot run on the device {device!r}: {error}") from error
        self.batch_size = batch_size
        self.options = {} if threshold is None else {"threshold": threshold}
        settings = read_json_object(folder / "preprocessor_config.json")
        self.detector = {"weights": file_sha256(folder / "model.safetensors"), "settings": settings, **self.options}

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Counts of the shard, what was skipped of it, and whether it was finished before."""
        shard = Path(job["shard"])
        origin = {"shard": shard.name, "bytes": shard.stat().st_size, "detector": self.detector}
        record = read_record(job["output"])
        if record is not None and record.get("origin") == origin:
            # Files of version 0.1 have the older name.
            return {"counts": record["counts"], "skipped": record.get("skipped", record.get("left_out")), "kept": True}
        counts, skipped = Counter(samples=0, with_faces=0, faces=0), Counter[str]()
        record = {"origin": origin, "counts": counts, "skipped": skipped}
        write_detections(job["output"], self.detected_samples(job["shard"], counts, skipped), record)
        return {"counts": counts, "skipped": skipped, "kept": False}

    def detected_samples(self, shard: str, counts: Counter, skipped: Counter) -> Iterator[tuple[int, Faces]]:
        """Yields SAMPLE_IDs and faces; `counts` and `skipped` take note of what is in the shard."""
        for sample_ids, photos in photo_batches(shard, self.batch_size, skipped):
            answers = self.find_faces(photos, batch_size=len(photos), **self.options)
            for sample_id, answer in zip(sample_ids, answers, strict=True):
                faces = faces_of_answer(answer)
                counts.update(samples=1, with_faces=int(len(faces) > 0), faces=len(faces))
                yield sample_id, faces


def detector_folder(model: str | None) -> Path:
    """The folder of a detector; checkpoints of other tasks are refused before they are loaded."""
    folder = checkpoint_for(DETECTION, model)
    kind = read_json_object(folder / "config.json").get("model_type")
    if kind != "retinaface" or not (folder / "model.safetensors").is_file():
        raise UnsuitableModelError(
            f"The checkpoint {folder} ({kind}) finds no faces; give a RetinaFace checkpoint with safetensors weights,"
            " retinaface-mobilenet-wider for example."
        )
    return folder


def faces_of_answer(answer: list[dict[str, Any]]) -> Faces:
    """The faces of one photo, five points each; boxes without an area are no faces."""
    sides = ((face["box"], face) for face in answer)
    kept = [face for box, face in sides if box["xmax"] > box["xmin"] and box["ymax"] > box["ymin"]]
    return Faces.from_pipeline(kept) if kept else Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


def photo_batches(shard: str, batch_size: int, skipped: Counter) -> Iterator[tuple[list[int], list[PIL.Image.Image]]]:
    """Yields SAMPLE_IDs and upright photos of a shard, as many as fit into a batch.

    A SAMPLE_ID that occurs twice gives two samples; the training stream takes the first.
    """
    sample_ids: list[int] = []
    photos: list[PIL.Image.Image] = []
    num_pixels = 0
    with contextlib.closing(OpenShard(Shard(shard), None)) as opened:
        skipped.update(opened.skipped)
        for number in range(len(opened)):
            try:
                sample_id = sample_id_of(opened.metadata(number))
                # In full size: the training stream expects faces in pixels of the whole photo.
                photo = PIL.Image.fromarray(ReducedPhoto(opened.picture(number)).decode(1.0)[0])
            except (SkippedSampleError, UnreadablePhotoError) as error:
                skipped[skip_reason(error)] += 1
                continue
            if photos and (len(photos) == batch_size or num_pixels + photo.width * photo.height > MAX_BATCH_PIXELS):
                yield sample_ids, photos
                sample_ids, photos, num_pixels = [], [], 0
            sample_ids.append(sample_id)
            photos.append(photo)
            num_pixels += photo.width * photo.height
    if photos:
        yield sample_ids, photos


def shard_jobs(shards: Sequence[str | os.PathLike], output: str | os.PathLike) -> list[dict[str, Any]]:
    """One job per shard: the shard and its output.

    Args:
        shards: Tar files, or folders with tar files in them or in their folders.
        output (`str`): Folder of the detections.

    Raises:
        InvalidDatasetError: A folder holds no shards, a file is missing, or two shards would share one output.
    """
    jobs: dict[str, dict[str, Any]] = {}
    for tar in (tar for given in shards for tar in tars_of(Path(given).expanduser())):
        path = str(detections_path(Path(output).expanduser().absolute(), tar))
        job = jobs.setdefault(path, {"shard": str(tar.absolute()), "output": path})
        if job["shard"] != str(tar.absolute()):
            raise InvalidDatasetError(
                f"{job['shard']} and {tar} have folder and name in common, so their detections would too; run the"
                " command once for each, with an output of its own."
            )
    return list(jobs.values())


def tars_of(path: Path) -> list[Path]:
    """The shards that a file or folder stands for."""
    if not path.exists():
        raise InvalidDatasetError(f"The shard {path} does not exist.")
    return tars_in(path) if path.is_dir() else [path]


def detect_faces(
    jobs: Sequence[dict[str, Any]], engine: Engine, settings: dict[str, Any] | None = None
) -> Iterator[JobOutcome]:
    """Yields the outcome of every shard; finished shards are kept.

    Args:
        jobs (`list`): From `shard_jobs`.
        engine ([`Engine`]): Where.
        settings (`dict`, *optional*): Arguments of [`ShardDetector`].

    Raises:
        UnknownNameError, NotDownloadedError, NotACheckpointError, UnsuitableModelError: See [`ShardDetector`].
    """
    detector_folder((settings or {}).get("model"))  # here, and not only where a cluster would wrap the error
    yield from run_jobs(ShardDetector, settings or {}, jobs, engine)
