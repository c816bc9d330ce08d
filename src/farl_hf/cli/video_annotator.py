"""Runs the tasks on a video, frame by frame, and writes the results while the video is read."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from farl_hf.cli.options import DETECTION, LANDMARKS
from farl_hf.errors import UnreadableVideoError
from farl_hf.outputs import draw
from farl_hf.photo_names import photo_uri, readable_name
from farl_hf.video import TrackedFrame, VideoFile
from farl_hf.video.face_following import follow_faces
from farl_hf.video.face_state import ConfidentLandmarksPipeline
from farl_hf.video.face_tracker import FaceTracker
from farl_hf.video.video_files import VideoWriter
from farl_hf.whole_files import UNFINISHED, write_picture, written_whole

_LABEL_MAPS = "{}.label-maps"  # folder of a video
_LABEL_MAP_FILES = "*.track-*.segmentation.png"


def remove_label_maps(folder: Path, stem: str) -> None:
    """Remove the label maps of a video, and their folder if nothing else is in it."""
    label_maps = folder / _LABEL_MAPS.format(stem)
    for path in label_maps.glob(_LABEL_MAP_FILES):
        path.unlink()
    with contextlib.suppress(OSError):
        label_maps.rmdir()


class VideoAnnotator:
    """Follows the faces of a video, runs every task on them, and writes one video per task and a line per frame.

    Args:
        pipelines (`Mapping[str, Pipeline]`): By task; face-detection is among them, and face-landmarks unless every
            frame is searched.
        tasks (`Sequence[str]`): The tasks that a video is written for.
        output_folder (`Path`): Where files are written; it must exist.
        batch_size (`int`): Frames that are held at a time, and faces that share a forward pass.
        threshold (`float`, *optional*): Lowest score of a face.
        detect_every (`int`): Frames from one detection to the next.
        smooth (`bool`): Smooth boxes and points over time.
        label_maps (`bool`): Write the label map of every face of every frame.
        pictures (`bool`): Draw the videos; without, there is the line per frame alone.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Any],
        tasks: Sequence[str],
        output_folder: Path,
        batch_size: int = 8,
        threshold: float | None = None,
        detect_every: int = 10,
        smooth: bool = False,
        label_maps: bool = False,
        pictures: bool = True,
    ) -> None:
        self.pipelines = pipelines
        self.tasks = tasks
        self.output_folder = output_folder
        self.batch_size = batch_size
        self.detection = {} if threshold is None else {"threshold": threshold}
        self.detect_every = detect_every
        self.smooth = smooth
        self.label_maps = label_maps
        self.drawn_tasks = tasks if pictures else ()

    def annotate(
        self, source: str, stem: str, report_frame: Callable[[int, int | None], None]
    ) -> tuple[dict[str, Any], str | None, str | None]:
        """Annotate one video.

        Args:
            source (`str`): File or URL.
            stem (`str`): First part of the names of the written files.
            report_frame (`Callable`): Called with the number of frames done, and of all frames if the file says it.

        Returns:
            `tuple`: The record `{"video", "photo_uri", "files", "frames", "seconds", "tracks", "faces_file"}`,
            then a fault in the video, if there is one (frames before it are written), and a note on skipped sound.

        Raises:
            UnreadableVideoError: If there is not even a first frame.
        """
        video = VideoFile(source)
        faults: list[Exception] = []
        tracked = follow_faces(_until_fault(video, faults), self._new_tracker(), self.smooth)
        lines = self.output_folder / f"{stem}.faces.jsonl"
        seen: set[int] = set()
        frame = None
        paths = {task: self.output_folder / f"{stem}.{task}.mp4" for task in self.drawn_tasks}
        label_maps = self.output_folder / _LABEL_MAPS.format(stem) if self.label_maps else None
        with _Outputs(video, paths, lines, label_maps) as outputs:
            for some in _batches(tracked, self.batch_size):
                for frame in self._run_tasks(some):
                    pictures = {
                        task: draw(frame.image, frame.faces, task.removeprefix("face-"), legend=False)
                        for task in self.drawn_tasks
                    }
                    faces = [self._for_json(face, f"{frame.index:06}", outputs) for face in frame.faces]
                    record = {"frame": frame.index, "time": round(frame.time_s, 6), "faces": faces}
                    outputs.write(frame.time_s, pictures, record)
                    seen |= {face["track"] for face in frame.faces}
                    report_frame(frame.index + 1, video.num_frames)
            if frame is None:
                raise faults[0]
            outputs.close(whole=not faults)
        record = {
            "video": readable_name(source),
            "photo_uri": photo_uri(source),
            "files": {task: path.name for task, path in paths.items()},
        }
        record |= {"frames": frame.index + 1, "seconds": frame.time_s, "tracks": len(seen)}
        return record | {"faces_file": lines.name}, str(faults[0]) if faults else None, outputs.sound_note

    def _new_tracker(self) -> FaceTracker:
        landmarks = self.pipelines.get(LANDMARKS)
        read_landmarks = None if landmarks is None else ConfidentLandmarksPipeline.of(landmarks)
        return FaceTracker(
            self.pipelines[DETECTION], read_landmarks, self.detect_every, self.batch_size, **self.detection
        )

    def _run_tasks(self, frames: Sequence[TrackedFrame]) -> Iterator[TrackedFrame]:
        """The frames with the answers of the tasks in their faces; faces of all frames share batches."""
        with_faces = [frame for frame in frames if frame.faces]
        inputs: list[dict[str, Any]] = [{"image": frame.image, "faces": frame.faces} for frame in with_faces]
        for task in self.tasks:
            if task not in (DETECTION, LANDMARKS) and inputs:
                answers = self.pipelines[task](inputs, batch_size=self.batch_size)
                for frame, answer in zip(with_faces, answers, strict=True):
                    # Score, box and keypoints stay those of the tracker, which the pipeline was given.
                    frame.faces[:] = [face | more | face for face, more in zip(frame.faces, answer, strict=True)]
        yield from frames

    def _for_json(self, face: dict[str, Any], frame_name: str, outputs: "_Outputs") -> dict[str, Any]:
        if LANDMARKS not in self.tasks:
            face = {name: value for name, value in face.items() if name != "landmarks"}
        if "segmentation" not in face:
            return face
        if not self.label_maps:
            return {name: value for name, value in face.items() if name not in ("segmentation", "labels")}
        name = f"{frame_name}.track-{face['track']}.segmentation.png"
        return face | {"segmentation": outputs.write_label_map(name, face["segmentation"])}


class _Outputs:
    """The videos of all tasks, the lines of all frames, and the folder of label maps if one is given; they get their
    final names when all are complete.
    """

    def __init__(self, video: VideoFile, paths: Mapping[str, Path], lines: Path, label_maps: Path | None) -> None:
        self._video = video
        self._writers = {task: VideoWriter(path, video) for task, path in paths.items()}
        self._lines = lines
        self._label_maps = label_maps
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Outputs":
        draft = self._stack.enter_context(written_whole(self._lines))
        self._file = self._stack.enter_context(draft.open("w", encoding="utf-8"))
        if self._label_maps is not None:
            self._label_maps_draft = self._stack.enter_context(_label_maps_written_whole(self._label_maps))
        for writer in self._writers.values():
            self._stack.enter_context(writer)
        return self

    def write(self, time_s: float, pictures: Mapping[str, Image.Image], record: dict[str, Any]) -> None:
        for task, picture in pictures.items():
            self._writers[task].write(picture, time_s)
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def write_label_map(self, name: str, label_map: Image.Image) -> str:
        """Returns its path from the output folder, as it will be."""
        assert self._label_maps is not None
        write_picture(self._label_maps_draft / name, label_map)
        return str(Path(self._label_maps.name, name))

    def close(self, whole: bool) -> None:
        for writer in self._writers.values():
            writer.close(whole)

    @property
    def sound_note(self) -> str | None:
        return next((writer.sound_note for writer in self._writers.values() if writer.sound_note), None)

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


@contextlib.contextmanager
def _label_maps_written_whole(label_maps: Path) -> Iterator[Path]:
    """Gives a folder to write label maps into, which replaces the one of an earlier run when the block ends."""
    with written_whole(label_maps) as draft:
        draft.mkdir()
        yield draft
        if label_maps.is_dir():
            # The folder of the earlier run is deleted, so files of others go into the new one first: as hard links
            # where there are any, else as copies. Wherever a run is killed, they are in one of both, and old and new
            # maps never mix.
            shutil.copytree(
                label_maps, draft, True, _ours_in(label_maps), copy_function=_link_or_copy, dirs_exist_ok=True
            )
    with contextlib.suppress(OSError):  # no face, no folder
        label_maps.rmdir()


def _ours_in(label_maps: Path) -> Callable[[str, list[str]], list[str]]:
    """What `shutil.copytree` leaves out: label maps, and what killed runs left, but nothing in subfolders."""
    patterns = shutil.ignore_patterns(_LABEL_MAP_FILES, f".*.track-*{UNFINISHED}")
    return lambda folder, names: list(patterns(folder, names)) if Path(folder) == label_maps else []


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # there are no links here
        shutil.copy2(source, target)


def _until_fault(video: VideoFile, faults: list[Exception]) -> Iterable[Any]:
    """The frames before the first error of a damaged video; the error is added to the list."""
    try:
        yield from video.frames()
    except UnreadableVideoError as error:
        faults.append(error)


def _batches(frames: Iterator[TrackedFrame], size: int) -> Iterator[list[TrackedFrame]]:
    while some := list(islice(frames, size)):
        yield some
