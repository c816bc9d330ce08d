"""Draws the photographs of this folder and of the documents with the built-in models, without network.

    python docs/images/draw_photographs.py

Run it after every change of the built-in models. The photographs are those of
`src/farl_hf/cli/demo_photographs/README.md`; matplotlib carries one of them (extra `studies`).
"""

import tempfile
from pathlib import Path

import matplotlib.cbook
from PIL import Image
from skimage import data
from transformers import pipeline

from farl_hf import outputs
from farl_hf.cli.demo import GROUP_PHOTO
from farl_hf.cli.face_annotator import FaceAnnotator
from farl_hf.cli.model_loading import load_pipelines
from farl_hf.cli.options import TASKS
from farl_hf.drawing import contact_sheet
from farl_hf.photos import load_photo

FOLDER = Path(__file__).parent
ON_PORTRAITS = ("face-parsing", "face-landmarks", "face-attributes")
ON_THE_GROUP = ("face-parsing", "face-landmarks")


def main() -> None:
    """Draw all pictures."""
    draw_outputs()
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


def draw_outputs() -> None:
    """The pictures of docs/outputs.md."""
    group, astronaut = load_photo(GROUP_PHOTO), Image.fromarray(data.astronaut())
    analyze = pipeline("face-analysis", device="cpu")
    faces, (face,) = analyze(group), analyze(astronaut)
    save(outputs.draw(group, faces, ["landmarks", "detection"]), "outputs_draw.jpg")
    crops = [
        ("upright" if row else "aligned", outputs.crop(group, one, not row)) for row in (0, 1) for one in faces[:6]
    ]
    save(contact_sheet(crops, columns=6, cell_size_wh=(180, 180)), "outputs_crop.jpg")
    cut = [
        (" and ".join(classes) if classes else "all classes", on_squares(outputs.cutout(astronaut, face, classes)))
        for classes in (None, ["skin", "nose"], ["hair"])
    ]
    save(contact_sheet(cut, columns=3, cell_size_wh=(300, 300)), "outputs_cutout.jpg")
    hidden = [
        (f"{method}, {region}", outputs.anonymize(group, faces, method, region).crop((0, 40, 720, 290)))
        for method, region in (("blur", "box"), ("pixelate", "box"), ("blur", "face"), ("fill", "landmarks"))
    ]
    save(contact_sheet(hidden, columns=2, cell_size_wh=(576, 200)), "outputs_anonymize.jpg")


def on_squares(cut: Image.Image) -> Image.Image:
    """A transparent picture on light and dark squares."""
    ground = Image.new("L", (cut.width // 16 + 1, cut.height // 16 + 1))
    ground.putdata(
        [
            255 - 51 * ((place % ground.width + place // ground.width) % 2)
            for place in range(ground.width * ground.height)
        ]
    )
    squares = ground.resize((ground.width * 16, ground.height * 16), Image.Resampling.NEAREST).convert("RGBA")
    squares.alpha_composite(cut)
    return squares.convert("RGB").crop((0, 0, *cut.size))


def save(picture: Image.Image, name: str) -> None:
    """Write a picture beside this file."""
    picture.save(FOLDER / name, quality=82, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
