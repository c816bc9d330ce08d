import json
import subprocess
import sys

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.cli.demo import GROUP_PHOTO


def test_demo_writes_pictures_and_json(toy_defaults, tmp_path):
    result = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "demo"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "demo/faces.json").read_text())
    assert [record["photo"] for record in records] == ["astronaut.png", "group.png"]
    assert all(record["faces"] for record in records)
    with Image.open(tmp_path / "demo/group.png") as shown, Image.open(GROUP_PHOTO) as photograph:
        assert np.array_equal(shown, photograph)
    for stem in ("astronaut", "group"):
        assert (tmp_path / f"demo/{stem}.png").exists()
        with Image.open(tmp_path / f"demo/{stem}.overview.jpg") as overview:
            assert overview.width > 600
        assert len(list((tmp_path / "demo").glob(f"{stem}.face-*.jpg"))) == 4
    assert "astronaut.overview.jpg" in result.output


def test_a_second_demo_overwrites_nothing(toy_defaults, tmp_path):
    for _ in range(2):
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != "faces.json"}
        assert CliRunner().invoke(app, ["demo", "--output", str(tmp_path), "--device", "cpu"]).exit_code == 0
        assert all(path.read_bytes() == content for path, content in before.items())
    records = json.loads((tmp_path / "faces.json").read_text())
    assert [record["photo"] for record in records] == [
        "astronaut.png", "group.png", "astronaut-2.png", "group-2.png",
    ]  # fmt: skip


def test_env_lists_versions_and_devices():
    result = CliRunner().invoke(app, ["env"])
    assert result.exit_code == 0
    for word in ("farl-hf", "torch", "transformers", "CPU", "retinaface-mobilenet-wider"):
        assert word in result.output


def test_help_names_the_commands_and_stays_light():
    code = "import sys; import farl_hf.cli; print(*({'torch', 'transformers', 'PIL', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    command = [sys.executable, "-c", "from farl_hf.cli import main; main()", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in help_text for name in ("demo", "annotate", "env"))
