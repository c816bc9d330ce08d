"""StyleGAN2 behind the protocol, as a module and as TorchScript; the decoder as a generator."""

import pytest
import torch
from torch import nn

from farl_hf import NotACheckpointError
from farl_hf.editing import StyleGAN2Generator, edit_latents
from farl_hf.errors import InvalidArgumentError
from farl_hf.modeling import FaceDecoderConfig, FaceDecoderModel

LAYERS, WIDTH = 4, 8


class ToyMapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return self.linear(z) + 3.0


class ToySynthesis(nn.Module):
    """Pictures in about [-1.5, 1.5], each layer's latent in a band of its own."""

    def __init__(self):
        super().__init__()
        self.bands = nn.Linear(WIDTH, 3 * 8 * 32)

    def forward(self, w):
        bands = self.bands(w).unflatten(-1, (3, 8, 32))
        return torch.tanh(torch.cat(list(bands.unbind(1)), dim=-2)) * 1.5


class TupleSynthesis(ToySynthesis):
    def forward(self, w):
        return super().forward(w), None


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return ToySynthesis().eval(), ToyMapping().eval()


def test_pictures_come_into_the_unit_range(networks):
    synthesis, _ = networks
    generator = StyleGAN2Generator(synthesis, (LAYERS, WIDTH))
    w = torch.randn(3, LAYERS, WIDTH)
    images = generator.images_from_latents(w)
    assert images.shape == (3, 3, 32, 32)
    raw = synthesis(w)
    inside = raw.abs() < 1
    assert torch.allclose(images[inside], (raw[inside] + 1) / 2)
    assert (images.min(), images.max()) == (0, 1)
    torch.manual_seed(0)
    assert torch.equal(StyleGAN2Generator(TupleSynthesis(), (LAYERS, WIDTH)).images_from_latents(w), images)


def test_sampled_w_are_pulled_to_their_mean_and_repeated_per_layer(networks):
    samples = {}
    for truncation in (1.0, 0.5, 0.0):
        generator = StyleGAN2Generator(*(networks[0], (LAYERS, WIDTH), networks[1]), truncation=truncation)
        samples[truncation] = generator.sample_latents(5, seed=1)
        assert samples[truncation].shape == (5, LAYERS, WIDTH)
        assert torch.equal(samples[truncation][:, 0], samples[truncation][:, -1])
    mean = samples[0.0][0]
    assert torch.allclose(mean[0], networks[1](torch.zeros(WIDTH)), atol=0.1)  # a linear mapping keeps means
    assert torch.allclose(samples[0.5] - mean, (samples[1.0] - mean) / 2, atol=1e-5)
    assert not torch.equal(generator.sample_latents(1, seed=2), samples[0.0][:1] + 1)


def test_without_a_mapping_latents_are_z(networks):
    generator = StyleGAN2Generator(networks[0], (LAYERS, WIDTH))
    z = generator.sample_latents(400)
    assert z.shape == (400, LAYERS, WIDTH)
    assert z.mean().abs() < 0.05
    assert abs(float(z.std()) - 1) < 0.05


def test_torchscript_files_are_edited_like_modules(networks, farl, tmp_path):
    for name, network in zip(("synthesis.pt", "mapping.pt"), networks, strict=True):
        torch.jit.save(torch.jit.script(network), str(tmp_path / name))
    scripted = StyleGAN2Generator.from_torchscript(tmp_path / "synthesis.pt", (LAYERS, WIDTH), tmp_path / "mapping.pt")
    generator = StyleGAN2Generator(networks[0], (LAYERS, WIDTH), networks[1])
    starts = generator.sample_latents(2)
    assert torch.allclose(scripted.sample_latents(2), starts, atol=1e-6)
    one, other = (
        edit_latents(each, *farl, starts, "a hat", num_steps=4, aligned=True, learning_rate=0.05)
        for each in (generator, scripted)
    )
    assert torch.allclose(one.latents, other.latents, atol=1e-4)
    assert one.latents.shape == (2, LAYERS, WIDTH)
    assert (one.similarities > one.start_similarities).all()


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(NotACheckpointError, match="There is no file"):
        StyleGAN2Generator.from_torchscript(tmp_path / "none.pt", (4, 8))
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(NotACheckpointError, match="no TorchScript archive"):
        StyleGAN2Generator.from_torchscript(tmp_path / "text.pt", (4, 8))


def test_a_mapping_of_another_shape_is_refused(networks):
    generator = StyleGAN2Generator(networks[0], (LAYERS, WIDTH), lambda z: networks[1](z)[:, None].repeat(1, 3, 1))
    with pytest.raises(InvalidArgumentError, match=r"latents of shape \(3, 8\), but latent_shape is \(4, 8\)"):
        generator.sample_latents(1)


def test_a_decoder_is_a_generator(farl):
    torch.manual_seed(0)
    template = [[-0.2, -0.1], [0.2, -0.1], [0.0, 0.1], [-0.15, 0.4], [0.15, 0.4]]
    config = FaceDecoderConfig(latent_size=8, grid_size=4, stage_channels=[8, 8, 8], face_template=template)
    decoder = FaceDecoderModel(config)
    edited = edit_latents(decoder, *farl, decoder.sample_latents(2), "a hat", num_steps=6, learning_rate=0.3)
    assert edited.images.shape == (2, 3, 32, 32)
    assert (edited.similarities > edited.start_similarities).all()
