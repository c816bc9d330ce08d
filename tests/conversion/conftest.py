import conversion_sources as sources
import pytest
import torch

from farl_hf.conversion import convert_checkpoint


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    """Small files in the released formats, written by the original code; never changed by a test."""
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    parsing = sources.make_parsing_network()
    sources.write_parsing(folder / "parsing.pt", parsing)
    sources.write_states(folder / "parsing_states.pth", parsing)
    sources.write_states(folder / "parsing_states_legacy.pth", parsing, legacy=True)
    sources.write_parsing(folder / "celebm_parsing.pt", sources.make_parsing_network(19))
    landmarks = sources.make_landmark_network()
    sources.write_landmarks(folder / "landmarks.pt", landmarks)
    sources.write_states(folder / "landmark_states.pth", landmarks)
    sources.write_plain(folder / "attributes.pt", sources.make_attributes())
    sources.write_plain(folder / "attributes_4_levels.pt", sources.make_attributes(7, levels=(3, 5, 7, 11)))
    detector = sources.make_detector()
    sources.write_plain(folder / "mobilenet.pth", detector)
    sources.write_plain(folder / "mobilenet_parallel.pth", detector, prefix="module.", legacy=True)
    sources.write_plain(folder / "resnet.pth", sources.make_detector("resnet"))
    sources.write_two_towers(folder / "backbone.pth", sources.make_two_towers())
    sources.write_two_towers(folder / "backbone_without_mim.pth", sources.make_two_towers(mim=False), legacy=True)
    sources.write_openai_archive(folder / "ViT-B-16.pt")
    sources.write_clip_folder(folder / "clip_folder")
    return folder


@pytest.fixture(scope="session")
def converted(source_folder, tmp_path_factory):
    """A function from a file's name to its report, with the comparison made; each is converted once."""
    folder, reports = tmp_path_factory.mktemp("converted"), {}

    def convert(name):
        if name not in reports:
            reports[name] = convert_checkpoint(source_folder / name, folder / name, check=True)
        return reports[name]

    return convert
