"""Datasets of procedurally rendered faces: no download, no real person, exact ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import datasets
from threadpoolctl import threadpool_limits

from farl_hf.data.datasets.builder import encoded_png, index_ranges, row_features
from farl_hf.face_renderer import DEFAULT_SIZES_HW, FacePhoto, render_face_photo
from farl_hf.labels import CELEBA_ATTRIBUTES

# Part of the cache's path: raise it with every change of the photo or caption that a number gives.
VERSION = datasets.Version("1.4.0")
JPEG_QUALITY = 95
# Splits draw from ranges of photo numbers that never meet.
FIRST_INDEX = {"train": 0, "validation": 10_000_000, "test": 20_000_000}


@dataclass
class SyntheticFacesConfig(datasets.BuilderConfig):
    """Sizes of the splits and of the photos.

    Args:
        kind (`str`): `"portrait"` or `"scene"`.
        num_train, num_validation, num_test (`int`): Photos per split, at most 10 million.
        image_size (`int`, *optional*): Side of square photos in pixels; that of the kind by default.
    """

    kind: str = "portrait"
    num_train: int = 20000
    num_validation: int = 1000
    num_test: int = 1000
    image_size: int | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the photos."""
        return DEFAULT_SIZES_HW[self.kind] if self.image_size is None else (self.image_size, self.image_size)


def _row(photo: FacePhoto) -> dict[str, object]:
    jpeg = cv2.imencode(".jpg", photo.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return {
        "image": {"path": None, "bytes": jpeg.tobytes()},
        "label_map": encoded_png(photo.label_map),
        "instance_map": encoded_png(photo.instance_map),
        "boxes_xyxy": photo.boxes_xyxy.tolist(),
        "points5_xy": photo.points5_xy.tolist(),
        "landmarks_xy": photo.landmarks_xy.tolist(),
        "attributes": photo.attributes.tolist(),
        "caption": photo.caption,
        "index": photo.index,
    }


COLUMNS = (
    *("image", "label_map", "instance_map", "boxes_xyxy", "points5_xy", "landmarks_xy"),
    *("attributes", "caption", "index"),
)


class SyntheticFaces(datasets.GeneratorBasedBuilder):
    """Rendered faces as a `datasets` builder.

    Example:
        >>> builder = SyntheticFaces(config_name="portraits", num_train=8, num_validation=2, num_test=2)
        >>> stream = builder.as_streaming_dataset(split="train")
    """

    BUILDER_CONFIG_CLASS = SyntheticFacesConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 - the name and type are set by datasets
        SyntheticFacesConfig(
            name="portraits", version=VERSION, kind="portrait", description="One main face per photo."
        ),
        SyntheticFacesConfig(
            name="scenes", version=VERSION, kind="scene", description="None to eight faces per photo."
        ),
    ]
    DEFAULT_CONFIG_NAME = "portraits"

    def _info(self) -> datasets.DatasetInfo:
        names = ", ".join(CELEBA_ATTRIBUTES)
        return datasets.DatasetInfo(
            description=f"Procedurally rendered faces. Attributes in order: {names}.",
            features=row_features(COLUMNS),
            license="MIT",
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        counts = {split: getattr(self.config, f"num_{split}") for split in FIRST_INDEX}
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"shards": index_ranges(FIRST_INDEX[split], count)})
            for split, count in counts.items()
            if count > 0
        ]

    def _generate_examples(self, shards: list[tuple[int, int]]) -> Iterator[tuple[int, dict[str, object]]]:
        # The products are small: BLAS threads do not speed them up, they spin on the cores of the other processes.
        # OpenCV gets 0 threads, not 1: 1 ends its threads, and waits without end for those that a fork left behind.
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            with threadpool_limits(1, user_api="blas"):
                for first, last in shards:
                    for index in range(first, last):
                        yield index, _row(render_face_photo(index, self.config.kind, self.config.size_hw))
        finally:
            if opencv_threads > 1:
                cv2.setNumThreads(opencv_threads)
