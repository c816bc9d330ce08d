"""Draws `portraits.jpg` and `group.jpg` of this folder with the built-in models, without network.

    python docs/images/draw_photographs.py

Run it after every change of the built-in models. The photographs are those of
`src/farl_hf/cli/demo_photographs/README.md`; matplotlib carries one of them (extra `studies`).
"""

import tempfile
from pathlib import Path

import matplotlib.cbook
from PIL import Image
from skimage import data

from farl_hf.cli.demo import GROUP_PHOTO
from farl_hf.cli.face_annotator import FaceAnnotator, load_pipelines
from farl_hf.cli.options import TASKS
from farl_hf.drawing import contact_sheet
from farl_hf.photos import load_photo

FOLDER = Path(__file__).parent
ON_PORTRAITS = ("face-parsing", "face-landmarks", "face-attributes")
ON_THE_GROUP = ("face-parsing", "face-landmarks")


def main() -> None:
    """Draw both pictures."""
    grace_hopper = load_photo(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    portraits = {
        "astronaut": Image.fromarray(data.astronaut()).crop((60, 0, 400, 390)),
        "grace_hopper": grace_hopper.crop((65, 0, 465, 459)),
    }
    with tempfile.TemporaryDirectory() as name:
        annotator = FaceAnnotator(load_pipelines(dict.fromkeys(TASKS), "cpu"), TASKS, Path(name))
        rows = []
        for stem, photo in portraits.items():
            drawn = annotator.annotate(photo.resize((680, 780), Image.Resampling.LANCZOS), stem, stem)[1]
            rows += [(task.replace("-", " "), load_photo(drawn[task])) for task in ON_PORTRAITS]
        save(contact_sheet(rows, columns=3, cell_size_wh=(360, 600)), "portraits.jpg")
        drawn = annotator.annotate(load_photo(GROUP_PHOTO), "group", "group")[1]
        rows = [(task.replace("-", " "), load_photo(drawn[task])) for task in ON_THE_GROUP]
        save(contact_sheet(rows, columns=1, cell_size_wh=(1200, 480)), "group.jpg")


def save(picture: Image.Image, name: str) -> None:
    """Write a picture beside this file."""
    picture.save(FOLDER / name, quality=82, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
