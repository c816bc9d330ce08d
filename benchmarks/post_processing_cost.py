"""Time and memory of mapping the parsed faces of one photo back to the frame of the photo.

    python -m benchmarks.post_processing_cost [--faces 32] [--checkpoint farl-tiny-parsing]

Prints JSON. The memory is the peak of the call above its inputs, including the label maps that it returns.
"""

import argparse
import json
import resource
import statistics
import threading
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoImageProcessor

from farl_hf.checkpoints import checkpoint

PHOTO_SIZE_HW = (1080, 1920)
REPETITIONS = 5
FACES_PER_ROW = 8


def make_logits(num_faces: int, num_classes: int, side: int) -> torch.Tensor:
    """Class scores (F, K, side, side) with regions like a face's: smooth blobs, background around."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(num_faces, num_classes, 7, 7, generator=generator)
    logits = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    margin = max(1, side // 12)
    border = torch.ones(side, side)
    border[margin:-margin, margin:-margin] = 0
    logits[:, 0] += 20 * border
    return logits


def make_crop_matrices(num_faces: int, processor) -> torch.Tensor:
    """Matrices (F, 3, 3) of faces that stand in rows all over the photo."""
    unit = torch.tensor([[-0.5, -0.4], [0.5, -0.4], [0.0, 0.1], [-0.35, 0.7], [0.35, 0.7]])
    eye_distance = PHOTO_SIZE_HW[1] / FACES_PER_ROW / 3
    rows = -(-num_faces // FACES_PER_ROW)
    places = [(face % FACES_PER_ROW, face // FACES_PER_ROW) for face in range(num_faces)]
    centres = torch.tensor([[x + 0.5, y + 0.5] for x, y in places])
    centres = centres * torch.tensor([PHOTO_SIZE_HW[1] / FACES_PER_ROW, PHOTO_SIZE_HW[0] / rows])
    return processor.crop_matrix(unit * eye_distance + centres[:, None])


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class PeakMemory:
    """Highest resident memory while the block runs, above that at its start, in bytes: `peak`."""

    def __enter__(self):
        self.start, self.peak, self.running = resident_bytes(), 0, True
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def watch(self):
        """Sample until the block ends."""
        while self.running:
            self.peak = max(self.peak, resident_bytes() - self.start)
            time.sleep(0.0005)

    def __exit__(self, *error):
        self.peak = max(self.peak, resident_bytes() - self.start)
        self.running = False
        self.watcher.join()


def measure(num_faces: int, name_or_folder: str) -> dict[str, float]:
    folder = checkpoint(name_or_folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    num_classes = len(AutoConfig.from_pretrained(folder).id2label)
    logits = make_logits(num_faces, num_classes, processor.size_hw[0] // 4)
    crop_from_photo = make_crop_matrices(num_faces, processor)
    sizes = [PHOTO_SIZE_HW] * num_faces
    # One face first, so that the libraries' own buffers are not counted.
    processor.post_process_face_parsing(logits[:1], crop_from_photo[:1], sizes[:1])
    with PeakMemory() as memory:
        processor.post_process_face_parsing(logits, crop_from_photo, sizes)
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        processor.post_process_face_parsing(logits, crop_from_photo, sizes)
        seconds.append(time.perf_counter() - start)
    return {"faces": num_faces, "seconds": statistics.median(seconds), "peak_mib": memory.peak / 2**20}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--checkpoint", default="farl-tiny-parsing")
    arguments = parser.parse_args()
    with torch.inference_mode():
        print(json.dumps(measure(arguments.faces, arguments.checkpoint)))


if __name__ == "__main__":
    main()
