import pytest

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, checkpoint, default_checkpoint
from farl_hf.errors import NotACheckpointError, NotDownloadedError, UnknownNameError


def test_every_task_has_an_embedded_default():
    assert set(DEFAULT_CHECKPOINTS) == {"face-detection", "face-parsing", "face-landmarks", "face-attributes"}
    for task, name in DEFAULT_CHECKPOINTS.items():
        assert default_checkpoint(task) == checkpoint(name)
        assert checkpoint(name).name == name


def test_names_of_version_0_1_lead_to_what_replaced_them():
    assert checkpoint("retinaface-tiny") == checkpoint("retinaface-mobilenet-wider")


def test_a_folder_with_a_config_is_a_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint(tmp_path) == tmp_path
    assert checkpoint(str(tmp_path)) == tmp_path


def test_a_folder_without_a_config_is_none(tmp_path):
    with pytest.raises(NotACheckpointError, match=r"config\.json"):
        checkpoint(tmp_path)


def test_unknown_names_list_the_known():
    with pytest.raises(UnknownNameError) as caught:
        checkpoint("farl-huge-parsing")
    assert all(name in str(caught.value) for name in EMBEDDED_CHECKPOINTS)
    with pytest.raises(UnknownNameError, match="face-landmarks"):
        default_checkpoint("face-recognition")


def test_a_name_that_is_not_downloaded_says_how_to_get_it(hub_cache):
    with pytest.raises(NotDownloadedError, match="run `farl-hf download farl`"):
        checkpoint("farl")


def test_a_folder_called_like_a_name_is_not_taken_for_it(hub_cache, tmp_path, monkeypatch):
    (tmp_path / "farl").mkdir()
    (tmp_path / "farl" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotDownloadedError, match=r"farl in this folder is something else; write \./farl"):
        checkpoint("farl")
    assert checkpoint("./farl").samefile(tmp_path / "farl")
    assert checkpoint(tmp_path / "farl") == tmp_path / "farl"
