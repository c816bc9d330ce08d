"""Uploads: in one commit, to the branch that was named, and errors that say what the Hub said."""

import pytest

from farl_hf.errors import UploadError
from farl_hf.hub import RepositoryFile, RepositoryPlan, push_repository


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    files = (
        RepositoryFile("config.json", b"{}"),
        RepositoryFile("deeper/model.safetensors", tmp_path / "model.safetensors"),
    )
    return RepositoryPlan(files, (), None)


def test_a_push_is_one_commit_on_top_of_what_was_there(here, plan):
    push_repository(plan, "me/twice")
    commit, files = here.repositories["me/twice"].files("main")
    assert files == {"config.json": b"{}", "deeper/model.safetensors": b"weights"}
    changed = RepositoryPlan((RepositoryFile("config.json", b"[]"),), (), None)
    address = push_repository(changed, "me/twice", public=True)
    later, files = here.repositories["me/twice"].files("main")
    assert files == {"config.json": b"[]", "deeper/model.safetensors": b"weights"}
    assert later != commit
    assert address.endswith(later)
    assert here.repositories["me/twice"].private  # one that exists stays as it is


def test_a_revision_is_a_branch_of_its_own(here, plan):
    push_repository(plan, "me/branched", revision="trial")
    push_repository(plan, "me/branched", revision="trial")
    repository = here.repositories["me/branched"]
    assert repository.files("main")[1] == {}
    assert set(repository.files("trial")[1]) == {"config.json", "deeper/model.safetensors"}


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/lfs/", "/commit/"])
def test_a_refused_upload_changes_nothing(here, plan, part):
    repo = f"me/refused-{part.strip('/').replace('/', '-')}"
    here.refusals[part] = 403
    with pytest.raises(
        UploadError, match=rf"^{repo} could not be written; no file in it has changed: .*(403|Forbidden)"
    ):
        push_repository(plan, repo)
    here.refusals.clear()
    assert repo not in here.repositories or here.repositories[repo].files("main")[1] == {}


@pytest.mark.parametrize("token", ["hf_wrong", None])
def test_without_a_valid_token_the_error_says_so(here, plan, monkeypatch, token):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(UploadError, match=r"401.* Log in with `hf auth login`"):
        push_repository(plan, "me/private", token=token)
    assert "me/private" not in here.repositories


def test_a_hub_that_is_not_there_is_an_upload_error(here, plan, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UploadError, match="could not be written") as raised:
        push_repository(plan, "me/unreachable")
    assert "Log in" not in str(raised.value)


@pytest.mark.parametrize("repo", ["a/b/c", "me/ä", "me/--"])
def test_names_that_no_repository_can_have_are_refused(here, plan, repo):
    with pytest.raises(UploadError, match="could not be written"):
        push_repository(plan, repo)
