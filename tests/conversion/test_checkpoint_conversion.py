"""What a conversion refuses, and what it leaves behind."""

import json
import os
import shutil
from dataclasses import replace

import conversion_sources as sources
import pytest
import torch

from farl_hf.checkpoints.checked_loading import load_whole, load_with_new_parts
from farl_hf.conversion import RELEASED_MODELS, checkpoint_conversion, convert_checkpoint, model_kinds
from farl_hf.conversion.source_reading import file_sha256
from farl_hf.errors import ConversionError, MissingExtraError, NotACheckpointError, UnknownNameError
from farl_hf.modeling import RetinaFaceForFaceDetection
from farl_hf.processing import RetinaFaceImageProcessor


def refuse(source, output, message, **options):
    """The conversion fails with that message and leaves nothing, neither there nor beside."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(ConversionError, match=message) as refusal:
        convert_checkpoint(source, output, **options)
    assert "weights_only" not in str(refusal.value)  # PyTorch's advice to trust the file is not passed on
    assert sorted(output.parent.iterdir()) == before


# ---- bad sources


@pytest.mark.parametrize("name", ["parsing.pt", "backbone.pth", "parsing_states_legacy.pth", "landmarks.pt"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_truncated_file(source_folder, tmp_path, name, share):
    content = (source_folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    refuse(tmp_path / name, tmp_path / "out", r"cut off|damaged|cannot be read")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>404: Not Found", r"begins with b'<!DOCTYPE html>4', is damaged or not a PyTorch file"),
        (b"ustar" * 200, "damaged or not a PyTorch file"),
        (b"hello world", "damaged or not a PyTorch file"),
        (b"\x80\x04}\x94.", "damaged or not a PyTorch file"),
        (b"PK\x03\x04" + bytes(100), "cut off"),
    ],
)
def test_a_file_that_is_no_weights(tmp_path, content, message):
    (tmp_path / "weights.pth").write_bytes(content)
    refuse(tmp_path / "weights.pth", tmp_path / "out", message)


def test_a_file_that_is_not_there(tmp_path):
    refuse(tmp_path / "nothing.pth", tmp_path / "out", r"no file or folder .*nothing\.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": {"layer1.weight": torch.ones(2)}},
            r"No known model has the tensors layer1\.weight\. Known are",
        ),
        ({"epoch": 3, "loss": 0.5}, "holds no weights.*'epoch', 'loss'"),
        ([1, 2], "holds no weights.*list"),
        ({"state_dict": {"weight": torch.ones(2), "epoch": 3}}, "1 entries among its weights that are no tensors"),
        ({"state_dict": {0: torch.ones(2)}}, "1 entries among its weights that are no tensors with a name"),
    ],
)
def test_a_pth_that_is_no_farl(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    refuse(tmp_path / "other.pth", tmp_path / "out", message)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code(tmp_path, zipped):
    trap = tmp_path / "trap"
    weights = {"state_dict": {"weight": torch.ones(2), "trap": Touch(trap)}}
    torch.save(weights, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    refuse(tmp_path / "bad.pth", tmp_path / "out", r"more than tensors.*mkdir")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("text_projection"), "missing for: text_projection.weight"),
        (lambda weights: weights.pop("visual.ln_post.bias"), "missing for: vision_model.post_layernorm.bias"),
        (lambda weights: weights.update(surplus=torch.ones(1)), "no place in it: surplus"),
        (lambda weights: weights.update({f"extra.{i}": torch.ones(1) for i in range(9)}), r"extra\.3 … \(9 in all\)"),
        (lambda weights: weights.update({"ln_final.weight": torch.ones(5)}), r"differ: .*\(5,\) instead of \(64,\)"),
        (lambda weights: weights.update({"visual.lm_head.more": torch.ones(5)}), r"no place in it: visual\.lm_head"),
    ],
    ids=["missing", "missing in the tower", "surplus", "many surplus", "another shape", "surplus in the branch"],
)  # fmt: skip
def test_left_over_and_missing_tensors_are_named(source_folder, tmp_path, change, message):
    weights = torch.load(source_folder / "backbone.pth", weights_only=True)["state_dict"]
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "changed.pth")
    refuse(tmp_path / "changed.pth", tmp_path / "out", message)


@pytest.mark.parametrize(("source", "wrapper"), [("attributes.pt", "module."), ("mobilenet.pth", "net.module.")])
def test_what_a_wrapper_puts_before_every_name_is_taken_off(source_folder, converted, tmp_path, source, wrapper):
    weights = torch.load(source_folder / source, weights_only=True)
    torch.save({wrapper + name: value for name, value in weights.items()}, tmp_path / "wrapped.pth")
    report = convert_checkpoint(tmp_path / "wrapped.pth", tmp_path / "wrapped", check=True)
    assert all(stage.is_equal for stage in report.parity)
    plain = converted(source).output / "model.safetensors"
    assert (report.output / "model.safetensors").read_bytes() == plain.read_bytes()


def test_step_counters_may_be_missing(source_folder, tmp_path):
    weights = torch.load(source_folder / "mobilenet.pth", weights_only=True)
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "old.pth")
    report = convert_checkpoint(tmp_path / "old.pth", tmp_path / "out", check=True)
    assert all(stage.is_equal for stage in report.parity)


def test_unknown_tensors_of_a_detector_are_named(source_folder, tmp_path):
    weights = torch.load(source_folder / "mobilenet.pth", weights_only=True)
    torch.save({**weights, "body.fc.weight": torch.ones(2), "strange": torch.ones(2)}, tmp_path / "changed.pth")
    refuse(tmp_path / "changed.pth", tmp_path / "out", "no place in it: strange")


def test_other_input_statistics_are_refused(source_folder, tmp_path):
    states = torch.load(source_folder / "parsing_states.pth", weights_only=True)
    states["networks"]["main_ema"]["backbone.image_mean"] += 0.1
    torch.save(states, tmp_path / "changed.pth")
    refuse(tmp_path / "changed.pth", tmp_path / "out", r"backbone\.image_mean is .* instead of")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("farl-lapa-448", "backbone.pth", "is a FaRL backbone .* another kind"),
        ("farl-celebm-448", "parsing.pt", "with 11 outputs, but 'farl-celebm-448' has 19"),
        ("farl-wflw-448", "landmarks.pt", "with 68 outputs, but 'farl-wflw-448' has 98"),
        ("farl-aflw19-448", "celebm_parsing.pt", "is a face parsing model, but"),
        ("farl-ep64", "ViT-B-16.pt", "no branch of masked image modelling, which 'farl-ep64' has"),
        ("farl-ep16", "clip_folder", "may be an OpenAI CLIP model"),
        ("retinaface-resnet50", "mobilenet.pth", "with mobilenet_v1 outputs, but 'retinaface-resnet50' has resnet"),
    ],
)
def test_a_wrong_file_for_the_name(source_folder, tmp_path, name, source, message):
    refuse(source_folder / source, tmp_path / "out", message, name=name)


def test_an_unknown_name(source_folder, tmp_path):
    with pytest.raises(UnknownNameError, match="farl-ep16, farl-ep64, farl-lapa-448"):
        convert_checkpoint(source_folder / "parsing.pt", tmp_path / "out", name="farl-lapa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "'bert', expected 'clip'"),
        (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "model.safetensors is damaged"),
    ],
    ids=["no config", "another model", "no weights", "damaged weights"],
)
def test_a_clip_folder_that_is_not_one(source_folder, tmp_path, change, message):
    folder = shutil.copytree(source_folder / "clip_folder", tmp_path / "clip")
    change(folder)
    refuse(folder, tmp_path / "out", message)


def test_a_file_of_a_clip_folder_lacks_its_settings(source_folder, tmp_path):
    refuse(
        source_folder / "clip_folder" / "model.safetensors", tmp_path / "out", "give its folder, because config.json"
    )


def test_a_clip_folder_of_an_older_transformers(source_folder, tmp_path):
    from safetensors.torch import load_file

    folder = shutil.copytree(source_folder / "clip_folder", tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    report = convert_checkpoint(folder, tmp_path / "out")
    assert list(report.dropped) == ["text_model.embeddings.position_ids"]


# ---- the output


def test_a_folder_that_is_not_empty_is_left_alone(source_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    refuse(source_folder / "mobilenet.pth", tmp_path / "out", "not empty.*--overwrite")
    refuse(source_folder / "mobilenet.pth", tmp_path / "out", "something else than a checkpoint", overwrite=True)
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["checkpoint-500/config.json", "trainer_state.json", "notes.txt"])
def test_a_folder_that_holds_more_than_a_checkpoint_is_left_alone(source_folder, tmp_path, name):
    mine = convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out").output / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    told = f"holds {name.partition('/')[0]}, which neither a conversion nor an export writes"
    refuse(source_folder / "mobilenet.pth", tmp_path / "out", told, overwrite=True)
    assert mine.read_text() == "mine"


def test_the_source_is_never_replaced(source_folder, tmp_path):
    folder = shutil.copytree(source_folder / "clip_folder", tmp_path / "clip")
    before = (folder / "model.safetensors").read_bytes()
    for source in (folder, folder / "model.safetensors"):
        refuse(source, folder, "holds what it would be made of", overwrite=True)
    assert (folder / "model.safetensors").read_bytes() == before


def test_an_empty_folder_is_filled_and_a_checkpoint_replaced(source_folder, tmp_path):
    output = tmp_path / "deep/down"
    output.mkdir(parents=True)
    convert_checkpoint(source_folder / "mobilenet.pth", output)
    (output / "vocab.json").write_text("of the former one")
    convert_checkpoint(source_folder / "attributes.pt", output, overwrite=True)
    assert json.loads((output / "config.json").read_text())["architectures"] == ["FaRLForAttributes"]
    assert not (output / "vocab.json").exists()
    assert list(output.parent.iterdir()) == [output]


def test_a_file_in_the_place_of_the_folder(source_folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    refuse(source_folder / "mobilenet.pth", tmp_path / "out", "is a file", overwrite=True)


def test_the_working_directory_is_not_replaced(source_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConversionError, match="is the working directory"):
        convert_checkpoint(source_folder / "mobilenet.pth", ".")
    assert not any(tmp_path.iterdir())


def test_a_folder_that_another_process_filled_meanwhile(source_folder, tmp_path):
    def be_faster(step):
        if step == "Writing the checkpoint":
            (tmp_path / "out").mkdir()
            (tmp_path / "out/config.json").write_text("theirs")

    with pytest.raises(ConversionError, match="not empty"):
        convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out", progress=be_faster)
    assert (tmp_path / "out/config.json").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_link_to_a_folder_is_followed(source_folder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/model.safetensors").is_file()


def disk_full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (checkpoint_conversion, "write_safetensors"),
        (RetinaFaceImageProcessor, "save_pretrained"),
        (checkpoint_conversion, "_write_documents"),
    ],
)
def test_a_full_disk_leaves_nothing(source_folder, tmp_path, monkeypatch, owner, step):
    monkeypatch.setattr(owner, step, disk_full)
    refuse(source_folder / "mobilenet.pth", tmp_path / "out", "No space left on device. Nothing was left")


def test_a_full_disk_keeps_the_former_checkpoint(source_folder, tmp_path, monkeypatch):
    convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out")
    former = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(checkpoint_conversion, "write_safetensors", disk_full)
    refuse(source_folder / "attributes.pt", tmp_path / "out", "No space left on device", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == former


def test_a_folder_that_cannot_be_made(source_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match="file/out"):
        convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "file/out")


def test_files_are_as_readable_as_others(source_folder, tmp_path):
    output = convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out").output
    (tmp_path / "ordinary").write_text("")
    modes = {path.stat().st_mode & 0o777 for path in output.iterdir()}
    assert modes == {(tmp_path / "ordinary").stat().st_mode & 0o777}


def test_two_conversions_give_the_same_bytes(source_folder, tmp_path):
    for name in ("one", "two"):
        convert_checkpoint(source_folder / "landmarks.pt", tmp_path / name / "farl")
    for path in (tmp_path / "one/farl").iterdir():
        assert path.read_bytes() == (tmp_path / "two/farl" / path.name).read_bytes(), path.name


def test_the_progress_is_told(source_folder, tmp_path):
    steps = []
    convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out", check=True, progress=steps.append)
    assert steps[0] == "Reading mobilenet.pth"
    assert steps[-1] == "Comparing with the original code"


def test_a_comparison_without_pyfacer_says_what_to_install(source_folder, tmp_path, monkeypatch):
    from farl_hf.conversion import checkpoint_conversion, original_networks

    def fail(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(original_networks.importlib, "import_module", fail)
    monkeypatch.setattr(checkpoint_conversion, "_convert", None)  # it is not begun
    with pytest.raises(MissingExtraError, match=r"pip install .*farl-hf\[.*bench"):
        convert_checkpoint(source_folder / "mobilenet.pth", tmp_path / "out", check=True)
    assert not (tmp_path / "out").exists()


# ---- the table of released models


def test_every_released_model_is_of_a_known_kind():
    kinds = {kind.name for kind in model_kinds.MODEL_KINDS}
    assert {row.kind for row in RELEASED_MODELS.values()} == kinds - {"encoder"}  # those of other projects
    assert len({row.file_name for row in RELEASED_MODELS.values()}) == len(RELEASED_MODELS) == 11


def test_the_card_of_an_unverified_file_tells_what_was_published_of_the_release(source_folder, tmp_path):
    convert_checkpoint(source_folder / "attributes.pt", tmp_path / "out", name="farl-celeba-224")
    card = (tmp_path / "out/README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    # Any file of this layout has the name: licence and training data of the release are not known to be the file's.
    assert "license: unknown" in front.splitlines()
    assert "datasets" not in front
    heading, summary = text.strip().split("\n\n")[:2]
    assert heading == "# farl-celeba-224"
    assert "has the layout of `face_attribute.farl.celeba.pt`" in summary
    for words in (
        "pipeline_tag: image-classification",
        "92.07",
        'pipeline("face-attributes", model="farl-celeba-224")',
        "@inproceedings{zheng2022farl",
        "## Limits",
    ):
        assert words in card
    assert "compares with the original" not in card
    # facer publishes no checksum, so the published scores are not those of this file.
    sha256 = file_sha256(source_folder / "attributes.pt")
    assert f"unverified file, sha256 `{sha256}`" in card
    assert "the scores of the release `face_attribute.farl.celeba.pt`, not of the unverified file" in card
    assert json.loads((tmp_path / "out/conversion.json").read_text())["name"] == "farl-celeba-224"


# ---- the body from which the original detector training starts


@pytest.fixture
def pretrained_body(tmp_path):
    """A file of the layout of `mobilenetV1X0.25_pretrain.tar`: data-parallel names, a classifier, the optimiser."""
    body = sources.make_detector().body
    fc = torch.nn.Linear(256, 1000)
    weights = {**body.state_dict(), "fc.weight": fc.weight.detach(), "fc.bias": fc.bias.detach()}
    momentum = {index: {"momentum_buffer": torch.zeros(3)} for index in range(4)}
    content = {
        "epoch": 18,
        "arch": "resnet18",
        "state_dict": {f"module.{name}": value for name, value in weights.items()},
        "best_acc1": torch.tensor(46.58),
        "optimizer": {"state": momentum, "param_groups": [{"lr": 0.1, "params": [0, 1, 2, 3]}]},
    }
    torch.save(content, tmp_path / "body.tar", _use_new_zipfile_serialization=False)
    return tmp_path / "body.tar", body


def test_a_body_of_a_detector_is_the_original_one(pretrained_body, tmp_path):
    source, body = pretrained_body
    report = convert_checkpoint(source, tmp_path / "out")
    assert (report.kind, report.model_class) == ("detector_body", "RetinaFaceModel")
    assert set(report.dropped) == {"fc.weight", "fc.bias"}
    new_parts = ("model.feature_pyramid.", "model.context_modules.", "class_head.", "box_head.", "keypoint_head.")
    model, drawn = load_with_new_parts(RetinaFaceForFaceDetection, tmp_path / "out", new_parts)
    assert set(drawn) == {part.rstrip(".") for part in new_parts}
    picture = torch.rand(1, 3, 96, 64) * 255
    with torch.no_grad():
        for ours, theirs in zip(model.eval().model.body(picture), body(picture).values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    with pytest.raises(NotACheckpointError, match="the body of a detector"):
        load_whole(RetinaFaceForFaceDetection, tmp_path / "out")


def test_a_card_is_of_the_release_only_with_its_checksum(pretrained_body, tmp_path, monkeypatch):
    source, _ = pretrained_body
    name = "retinaface-mobilenet-imagenet"
    convert_checkpoint(source, tmp_path / "other", name=name)
    card = (tmp_path / "other/README.md").read_text()
    assert f"unverified file, sha256 `{file_sha256(source)}`" in card
    assert "its checksum is another one" in card
    assert card.startswith("---\nlicense: unknown\n")
    assert "datasets" not in card.partition("\n---\n")[0]
    monkeypatch.setitem(RELEASED_MODELS, name, replace(RELEASED_MODELS[name], sha256=file_sha256(source)))
    convert_checkpoint(source, tmp_path / "same", name=name)
    card = (tmp_path / "same/README.md").read_text()
    assert "unverified" not in card
    assert card.startswith("---\nlicense: mit\n")
    assert "datasets: [ImageNet]" in card.partition("\n---\n")[0]
    assert f"# {name}\n\n{RELEASED_MODELS[name].summary}\n" in card
    assert "Released by [biubug6/Pytorch_Retinaface]" in card
    assert "46.58" in card
