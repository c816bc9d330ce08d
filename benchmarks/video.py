"""Frames per second and peak memory of annotating a video, by interval of detection and by length.

    python -m benchmarks.video [--frames 60 600] [--detect-every 1 10] [--size 640 360]

Each row runs in its own process with the built-in models: a photographed face moves slowly over the frame, is
detected and tracked, and its landmarks are drawn and encoded. Prints a Markdown table.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path


def write_clip(path: Path, num_frames: int, size_wh: tuple[int, int]) -> None:
    """A photographed face that drifts to and fro, 25 frames a second."""
    import av
    import numpy as np
    from skimage import data

    pixels = data.astronaut()
    width, height = size_wh
    pixel = pixels.shape[1] / (width + 60)  # of the photo, in each direction; below its end, its last row
    columns = (np.arange(width + 60) * pixel).astype(int)
    rows = (np.arange(height) * pixel).astype(int).clip(0, pixels.shape[0] - 1)
    wide = pixels[rows][:, columns]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(num_frames):
            left = abs(index % 120 - 60)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(wide[:, left : left + width]))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def annotate_clip(clip: str, folder: str, detect_every: int, threads: int, answers) -> None:
    """Puts frames per second, peak megabytes and the tracks into the queue."""
    import torch

    from farl_hf.cli.model_loading import load_pipelines
    from farl_hf.cli.video_annotator import VideoAnnotator

    torch.set_num_threads(threads)
    tasks = ("face-detection", "face-landmarks")
    pipelines = load_pipelines(dict.fromkeys(tasks), "cpu")
    annotator = VideoAnnotator(pipelines, tasks[1:], Path(folder), detect_every=detect_every)
    start = time.perf_counter()
    record, _ = annotator.annotate(clip, "clip", lambda done, total: None)
    rate = record["frames"] / (time.perf_counter() - start)
    answers.put((rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, record["tracks"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[60, 600])
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--size", type=int, nargs=2, default=[640, 360], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| frames | detect every | frames/s | peak MB | tracks |\n|---|---|---|---|---|")
    for num_frames in arguments.frames:
        for detect_every in arguments.detect_every:
            with tempfile.TemporaryDirectory() as folder:
                clip = Path(folder) / "source.mp4"
                write_clip(clip, num_frames, tuple(arguments.size))
                answers = context.Queue()
                values = (str(clip), folder, detect_every, arguments.threads, answers)
                process = context.Process(target=annotate_clip, args=values)
                process.start()
                rate, peak_mb, tracks = answers.get()
                process.join()
                print(f"| {num_frames} | {detect_every} | {rate:.1f} | {peak_mb:.0f} | {tracks} |", flush=True)


if __name__ == "__main__":
    main()
