import pytest
from toy_checkpoints import save_toy_checkpoints

from farl_hf.checkpoints import checkpoint_names


@pytest.fixture(scope="session")
def toy_checkpoint_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    save_toy_checkpoints(folder)
    return folder


@pytest.fixture
def toy_defaults(toy_checkpoint_folder, monkeypatch):
    """The default models are toys: commands run in a moment, whatever they find."""
    monkeypatch.setattr(checkpoint_names, "_EMBEDDED_FOLDER", toy_checkpoint_folder)
    return toy_checkpoint_folder
