import pytest
from image_text_toys import make_clip, make_farl
from toy_checkpoints import save_toy_checkpoints

from farl_hf.checkpoints import embedded_models

CLUSTER_MEMORY = 80 * 2**20  # the least that Ray takes


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


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two machines with a processor each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": CLUSTER_MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    cluster.add_node(**size)
    yield cluster
    cluster.shutdown()
