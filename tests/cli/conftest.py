import pytest
from image_text_toys import make_clip, make_farl
from toy_checkpoints import save_toy_checkpoints

from farl_hf.checkpoints import embedded_models


@pytest.fixture(scope="session")
def toy_checkpoint_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    save_toy_checkpoints(folder)
    return folder


@pytest.fixture
def toy_defaults(toy_checkpoint_folder, monkeypatch):
    """The default models are toys: commands run in a moment, whatever they find."""
    monkeypatch.setattr(embedded_models, "_FOLDER", toy_checkpoint_folder)
    return toy_checkpoint_folder


@pytest.fixture(scope="session")
def image_text_folder(tmp_path_factory):
    """Checkpoints of untrained models of both encoders: `farl` and `clip`."""
    folder = tmp_path_factory.mktemp("image_text_model")
    for name, make in {"farl": make_farl, "clip": make_clip}.items():
        for part in make():
            part.save_pretrained(folder / name)
    return folder
