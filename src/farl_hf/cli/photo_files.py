"""The photos and videos that a command line names, and the names of the files made of them."""

import glob
import hashlib
import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from farl_hf.errors import MissingExtraError, UnreadablePhotoError
from farl_hf.photo_names import URL_SCHEMES, photo_uri, readable_name

_logger = logging.getLogger(__name__)

_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"),
    *(".jp2", ".avif", ".tga", ".heic", ".heif", ".hif"),  # HEIC without its extra is named, not passed over
)
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
_LONGEST_STEM = 180  # bytes
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")  # how Python names such bytes of a file name
_PART_OF_OURS = re.compile(r"\.(?=face-|track-|faces\.|anonymized\.)")
_GLOB_SIGNS = re.compile(r"[*?\[]")
_CROPPED_OR_ANONYMIZED = re.compile(r"\.(face-\d+\.png|anonymized\.(jpg|mp4))$")
# Pictures written by an earlier run are not photos to annotate.
_WRITTEN_BY_US = re.compile(
    r"\.face-(detection|parsing|landmarks|attributes|explanation|\d+\.segmentation)\.(png|jpg|mp4)$|\.track-\d+\.segmentation\.png$"
)


def find_photos(
    arguments: Sequence[str], videos: bool = False, output_folder: Path | None = None
) -> tuple[list[str], dict[str, Exception]]:
    """The photos that files, folders, glob patterns and URLs name.

    Args:
        arguments (`Sequence[str]`): What the user typed. Folders are searched with their subfolders.
        videos (`bool`, *optional*, defaults to `False`): Whether folders are searched for videos too.
        output_folder (`Path`, *optional*): Outputs in it, by their names, are taken only where the user typed them.

    Returns:
        `tuple`: The photos in order, each once; and, with the reason, arguments that name no photo, and videos that
            cannot be read without PyAV.
    """
    photos: dict[str, str] = {}
    failures: dict[str, Exception] = {}
    suffixes = _SUFFIXES + _VIDEO_SUFFIXES if videos else _SUFFIXES
    for argument in arguments:
        found = _photos_of(argument, suffixes)
        if output_folder is not None:
            outputs = {photo for photo in found if photo != argument and _is_output(photo, output_folder)}
            found = [photo for photo in found if photo not in outputs]
            if outputs:
                _logger.warning(
                    "Passed over %d files of %s that are named as outputs, such as %s; name a file to take it.",
                    len(outputs),
                    readable_name(str(output_folder)),
                    readable_name(Path(min(outputs)).name),
                )
        if not found:
            failures[argument] = UnreadablePhotoError(_why_nothing_is_found(argument, suffixes))
        for photo in found:
            photos.setdefault(photo if photo.startswith(URL_SCHEMES) else str(Path(photo).resolve()), photo)
    if videos and any(map(is_video, photos.values())):
        from farl_hf.video.video_files import load_av

        try:
            load_av()
        except MissingExtraError as error:
            failures |= {photo: error for photo in photos.values() if is_video(photo)}
    return [photo for photo in photos.values() if photo not in failures], failures


def _is_output(photo: str, folder: Path) -> bool:
    """Whether `farl-hf crop` or `anonymize` wrote it there; in another folder it is a photo like others."""
    return _CROPPED_OR_ANONYMIZED.search(photo) is not None and _is_in(photo, folder)


def _why_nothing_is_found(argument: str, suffixes: tuple[str, ...]) -> str:
    if Path(argument).is_dir():
        return f"The folder {argument} holds no photo ({', '.join(suffixes)})."
    if _GLOB_SIGNS.search(argument):
        return f"No file matches {argument}."
    return f"There is no {'video' if is_video(argument) else 'photo'} at {argument}."


def is_video(photo: str) -> bool:
    """Whether a file or URL is a video, by its suffix."""
    return Path(photo.split("?")[0] if photo.startswith(URL_SCHEMES) else photo).suffix.lower() in _VIDEO_SUFFIXES


def output_stems(
    photos: Iterable[str],
    output_folder: Path,
    earlier: Mapping[str, str] = MappingProxyType({}),
    others: Iterable[str] = (),
) -> list[str]:
    """A name for the outputs of every photo: its stem, numbered where two photos would share it.

    Names differ in more than upper and lower case, and never lead to a file that is one of the photos.

    Args:
        photos (`Iterable[str]`): Paths and URLs.
        output_folder (`Path`): Where the outputs go.
        earlier (`Mapping[str, str]`): Names that earlier runs gave there, by the URI of the photo.
        others (`Iterable[str]`): Names of files that must not be replaced.
    """
    photos = list(photos)
    names = {Path(photo).name.lower() for photo in photos if _is_in(photo, output_folder)}
    names |= {name.lower() for name in others}
    # A name "a.face-1.png" begins with what would be written for the stem "a".
    inputs = {name[: part.start()] for name in names for part in _PART_OF_OURS.finditer(name)}
    taken = {stem.lower() for stem in earlier.values()} | inputs
    stems = []
    tried: dict[str, Iterator[str]] = {}  # what is left to try of each stem: names that were taken stay so
    for photo in photos:
        base = _stem(photo)
        candidates = tried.setdefault(base, _numbered(base))
        stem = earlier.get(photo_uri(photo)) or next(name for name in candidates if name.lower() not in taken)
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def _numbered(stem: str) -> Iterator[str]:
    return (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))


def outputs_in(folder: Path) -> list[str]:
    """Names of the files of a folder that are named as outputs of ours are."""
    return sorted(path.name for path in folder.iterdir() if _PART_OF_OURS.search(f".{path.name}"))


def _photos_of(argument: str, suffixes: tuple[str, ...]) -> list[str]:
    if argument.startswith(URL_SCHEMES):
        return [argument]
    path = Path(argument)
    if path.is_dir():
        return _photos_in(path, suffixes)
    if path.exists():
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))
    in_folders = [photo for match in matches if Path(match).is_dir() for photo in _photos_in(Path(match), suffixes)]
    return [match for match in matches if Path(match).is_file() and not _WRITTEN_BY_US.search(match)] + in_folders


def _photos_in(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    def is_photo(path: Path) -> bool:
        return path.suffix.lower() in suffixes and not _WRITTEN_BY_US.search(path.name)

    return [str(path) for path in sorted(_files_in(folder)) if is_photo(path) and path.is_file()]


def _files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders that are not hidden.

    Links to folders are followed at the end and each folder is listed once: so a file goes by its own path, where that
    lies in the folder, and a link to a folder above it makes no circle.
    """
    waiting, seen = [folder], set()
    while waiting:
        for path, folders, names in os.walk(waiting.pop(0)):
            place = os.path.realpath(path)
            folders[:] = sorted(name for name in folders if not name.startswith(".") and place not in seen)
            yield from (Path(path, name) for name in names if not name.startswith(".") and place not in seen)
            waiting += [Path(path, name) for name in folders if os.path.islink(os.path.join(path, name))]
            seen.add(place)


def _stem(photo: str) -> str:
    if not photo.startswith(URL_SCHEMES):
        return _short(_NOT_UTF_8.sub("_", Path(photo).stem))
    name = Path(photo.split("?")[0].split("#")[0]).stem
    return _short(re.sub(r"[^\w.-]+", "_", name) or "photo")


def _short(stem: str) -> str:
    """A stem that leaves room for our endings: file systems take 255 bytes. A digest tells long ones apart."""
    content = stem.encode()
    if len(content) <= _LONGEST_STEM:
        return stem
    return f"{content[:_LONGEST_STEM].decode(errors='ignore')}-{hashlib.sha256(content).hexdigest()[:8]}"


def _is_in(photo: str, folder: Path) -> bool:
    return not photo.startswith(URL_SCHEMES) and Path(photo).resolve().parent == folder.resolve()
