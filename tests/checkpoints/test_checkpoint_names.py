import pytest

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, checkpoint_path, default_checkpoint_path
from farl_hf.errors import NotACheckpointError, UnknownNameError


def test_every_task_has_an_embedded_default():
    assert set(DEFAULT_CHECKPOINTS) == {"face-detection", "face-parsing", "face-landmarks", "face-attributes"}
    for task, name in DEFAULT_CHECKPOINTS.items():
        assert default_checkpoint_path(task) == checkpoint_path(name)
        assert checkpoint_path(name).name == name


def test_a_folder_with_a_config_is_a_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint_path(tmp_path) == tmp_path
    assert checkpoint_path(str(tmp_path)) == tmp_path


def test_a_folder_without_a_config_is_none(tmp_path):
    with pytest.raises(NotACheckpointError, match=r"config\.json"):
        checkpoint_path(tmp_path)


def test_unknown_names_list_the_known():
    with pytest.raises(UnknownNameError) as caught:
        checkpoint_path("farl-huge-parsing")
    assert all(name in str(caught.value) for name in EMBEDDED_CHECKPOINTS)
    with pytest.raises(UnknownNameError, match="face-landmarks"):
        default_checkpoint_path("face-recognition")
