"""One run over many photos and videos: progress on the screen, records on the disk, whatever happens in between."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from farl_hf.cli.face_annotator import FaceAnnotator, write_json
from farl_hf.cli.photo_files import is_video, output_stems
from farl_hf.errors import UnreadableVideoError

if TYPE_CHECKING:  # loads with videos only
    from farl_hf.cli.video_annotator import VideoAnnotator

__all__ = ["annotate_photos"]


def annotate_photos(
    annotator: FaceAnnotator, photos: Sequence[str], output: Path, video_annotator: "VideoAnnotator | None" = None
) -> dict[str, Exception]:
    """Annotate every photo and video, and write `faces.json`, also when the run is interrupted.

    Args:
        annotator (`FaceAnnotator`): Writes the pictures.
        photos (`Sequence[str]`): Paths and URLs.
        output (`Path`): Where `faces.json` goes.
        video_annotator (`VideoAnnotator`, *optional*): Writes the videos, if there are any.

    Returns:
        `dict[str, Exception]`: The photos and videos that failed, with the reason.
    """
    records: list[dict] = []
    failures: dict[str, Exception] = {}
    console = Console()
    try:
        with _progress(console) as progress:
            for photo, stem in progress.track(
                list(zip(photos, output_stems(photos, output), strict=True)), description="Annotating"
            ):
                try:
                    if is_video(photo):
                        record, faults = _annotate_video(video_annotator, photo, stem, progress)
                        records.append(record)
                        if faults:
                            failures[photo] = UnreadableVideoError(" ".join(map(str, faults)))
                    else:
                        records.append(annotator.annotate(photo, photo, stem)[0])
                except Exception as error:  # one bad photo must not cost the others, whatever is wrong with it
                    failures[photo] = error
    finally:
        write_json(output / "faces.json", records)
    console.print(f"{_summary(records)}: see {output / 'faces.json'}")
    return failures


def _annotate_video(
    video_annotator: "VideoAnnotator | None", video: str, stem: str, progress: Progress
) -> tuple[dict, list[Exception]]:
    if video_annotator is None:
        raise UnreadableVideoError("Videos cannot be searched with --aligned, which is for photos of one face.")
    bar = progress.add_task(stem, total=None)
    try:
        return video_annotator.annotate(video, stem, _frame_counter(progress, bar, stem))
    finally:
        progress.remove_task(bar)


def _frame_counter(progress: Progress, bar: TaskID, stem: str) -> Callable[[int, int | None], None]:
    """What moves the bar of a video and shows its speed."""
    start_s = time.monotonic()

    def count(done: int, total: int | None) -> None:
        frames_per_s = done / max(time.monotonic() - start_s, 1e-6)
        progress.update(
            bar, completed=done, total=max(total or done, done), description=f"{stem} {frames_per_s:.1f} frames/s"
        )

    return count


def _summary(records: Sequence[dict]) -> str:
    photos = [record for record in records if "photo" in record]
    videos = [record for record in records if "video" in record]
    num_faces = sum(len(record["faces"]) for record in photos)
    parts = [f"{_count(num_faces, 'face')} in {_count(len(photos), 'photo')}"] if photos or not videos else []
    if videos:
        num_tracks, num_frames = (sum(record[name] for record in videos) for name in ("tracks", "frames"))
        tracks, frames = _count(num_tracks, "tracked face"), _count(num_frames, "frame")
        parts.append(f"{tracks} in {frames} of {_count(len(videos), 'video')}")
    return ", ".join(parts)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
