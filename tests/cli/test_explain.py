import numpy as np
import pytest
from PIL import Image
from toy_checkpoints import MAX_FACES
from typer.testing import CliRunner

from farl_hf import FaRLImageProcessor
from farl_hf.cli import app
from farl_hf.cli.pictures import explanation_sheet
from farl_hf.explanation import FaceExplanation

PICTURE = "farl_explanations/photo.face-explanation.png"


@pytest.fixture
def explain(toy_defaults, image_text_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")

    def run(*arguments, model="farl"):
        model = image_text_folder / model if (image_text_folder / model).exists() else model
        return CliRunner().invoke(app, ["explain", "--device", "cpu", "--model", str(model), *map(str, arguments)])

    return run


@pytest.mark.parametrize("model", ["farl", "clip"])
def test_a_row_of_pictures_and_arrays_per_face(explain, tmp_path, model):
    result = explain("photo.png", "a smile", "eyeglasses", model=model)
    assert result.exit_code == 0, result.output
    files = sorted(path.name for path in (tmp_path / "farl_explanations").iterdir())
    assert files == [
        *(f"photo.face-{row + 1}.explanation.npz" for row in range(MAX_FACES)),
        "photo.face-explanation.png",
    ]
    with np.load(tmp_path / "farl_explanations/photo.face-1.explanation.npz") as arrays:
        assert arrays["names"].tolist() == ["a smile", "eyeglasses"]
        x_min, y_min, x_max, y_max = arrays["window_xyxy"]
        assert arrays["photo_maps"].shape == (2, y_max - y_min, x_max - x_min)
        assert arrays["crop_maps"].shape == (2, 32, 32)
        assert arrays["patch_maps"].shape == (2, 4, 4)
        assert arrays["crop_from_photo"].shape == (3, 3)
        assert np.abs(arrays["scores"]).max() <= 1
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.width > 3 * 200
        assert picture.height > MAX_FACES * 100


def test_all_maps_share_one_scale_and_what_does_not_apply_stays_cold(tmp_path):
    """Three equal maps with scores of 0.4, 0.2 and -0.3, on a grey photo: hot, half as hot, the bare photo."""
    photo, heat = Image.new("RGB", (64, 64), (128, 128, 128)), np.zeros((3, 64, 64), np.float32)
    heat[:, 20:40, 20:40] = 1
    explanation = FaceExplanation(
        names=("yes", "half", "no"),
        scores=np.array([0.4, 0.2, -0.3], np.float32),
        patch_maps=heat[:, ::16, ::16],
        crop_maps=heat,
        crop_from_photo=np.eye(3, dtype=np.float32),
        box_xyxy=np.array([0, 0, 64, 64]),
        photo_size_hw=(64, 64),
        image_processor=FaRLImageProcessor(size=64, warp_factor=0.0),
    )
    sheet = np.asarray(explanation_sheet(photo, [explanation])).astype(int)
    # Four pictures of 288 pixels with gaps of 12, under a caption.
    middles = [sheet[30 + 12 + 135, 12 + column * 300 + 135] for column in range(4)]
    assert (middles[0] == 128).all()
    assert (middles[3] == 128).all()
    assert middles[1][0] > 150 > middles[1][2]  # yellow
    assert middles[2][1] > middles[2][0]  # the green in the middle of the scale


def test_labels_of_a_head(explain, toy_defaults):
    result = explain("photo.png", "nose", "hair", "--aligned", model=toy_defaults / "farl-tiny-parsing")
    assert result.exit_code == 0, result.output
    assert "nose" in result.output


def test_rollout_without_a_text(explain, tmp_path):
    result = explain("photo.png", "--method", "attention-rollout", "--aligned")
    assert result.exit_code == 0, result.output
    assert (tmp_path / PICTURE).is_file()


def test_no_face_is_said_with_a_way_out(explain, tmp_path):
    result = explain("photo.png", "a smile", "--threshold", "1.0")
    assert result.exit_code == 1
    assert "No face was found in photo.png" in result.output + result.stderr
    assert "--aligned" in result.output + result.stderr
    assert not list((tmp_path / "farl_explanations").iterdir())
    assert explain("photo.png", "a smile", "--aligned").exit_code == 0


def test_its_own_pictures_are_no_photos(explain, tmp_path):
    from farl_hf.cli.photo_files import find_photos

    explain("photo.png", "a smile", "--aligned", "-o", ".")
    assert (tmp_path / "photo.face-explanation.png").is_file()
    assert find_photos(["."])[0] == ["photo.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photo.png", ""], "Text 1"),
        (["photo.png"], "at least one"),
        (["photo.png", "a", "--layer", "blocks.1"], "layers.N.layer_norm1"),
        (["photo.png", "a", "--method", "lime"], "grad-cam, attention-rollout"),
        (["photo.png", "a", "--method", "attention-rollout"], "without texts"),
        (["missing.png", "a"], "missing.png"),
        (["photo.png", "a", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_work_is_explained(explain, arguments, said):
    result = explain(*arguments)
    assert result.exit_code == 2
    assert said in " ".join((result.output + result.stderr).split())
    assert "Traceback" not in result.output + result.stderr


@pytest.mark.parametrize(
    ("model", "said"),
    [("farl-huge", "Known: farl"), ("retinaface-tiny", "no vision encoder"), (".", "no config.json")],
)
def test_models_that_cannot_explain(explain, model, said):
    result = explain("photo.png", "a smile", model=model)
    assert result.exit_code == 2
    assert said in " ".join((result.output + result.stderr).split())


def test_explanations_of_photos_of_one_stem_and_of_other_texts_stay(explain, tmp_path):
    (tmp_path / "other").mkdir()
    Image.new("RGB", (96, 80), "red").save(tmp_path / "other/photo.png")
    folder, seen = tmp_path / "farl_explanations", {}
    for arguments in (["photo.png", "a smile"], ["other/photo.png", "a smile"], ["photo.png", "eyeglasses"]):
        assert explain(*arguments, "--aligned").exit_code == 0
        now = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert seen.items() <= now.items()
        assert len(now) == len(seen) + 2
        seen = now
    assert "photo-3.face-explanation.png" in seen
