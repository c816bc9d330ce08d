import pytest
import torch
from transformers import AutoModel

import farl_hf  # noqa: F401 - registers the model
from farl_hf.modeling import FaceDecoderConfig, FaceDecoderModel

TEMPLATE = [[-0.2, -0.1], [0.2, -0.1], [0.0, 0.1], [-0.15, 0.4], [0.15, 0.4]]


def make_decoder(**settings):
    torch.manual_seed(0)
    return FaceDecoderModel(FaceDecoderConfig(latent_size=6, grid_size=3, stage_channels=[8, 6, 4], **settings)).eval()


def test_pictures_are_rgb_in_the_unit_range_and_differ():
    decoder = make_decoder()
    images = decoder(decoder.sample_latents(4)).images
    assert images.shape == (4, 3, 24, 24)
    assert decoder.config.image_size == 24
    assert 0 <= images.min() < images.max() <= 1
    assert (images[0] - images[1]).abs().max() > 0.01


def test_it_is_saved_and_loaded_by_auto_model(tmp_path):
    decoder = make_decoder(face_template=TEMPLATE)
    decoder.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is FaceDecoderModel
    assert loaded.config.face_template == TEMPLATE
    latents = decoder.sample_latents(2)
    assert torch.equal(loaded.images_from_latents(latents), decoder.images_from_latents(latents))


def test_samples_are_normal_truncated_and_repeatable():
    decoder = make_decoder()
    latents = decoder.sample_latents(2000, seed=3)
    assert latents.shape[1:] == decoder.latent_shape
    assert abs(float(latents.std()) - 0.7) < 0.02
    assert torch.allclose(decoder.sample_latents(2000, seed=3, truncation=1.0) * 0.7, latents)
    assert torch.equal(latents, decoder.sample_latents(2000, seed=3))
    assert not torch.equal(latents, decoder.sample_latents(2000, seed=4))


def test_points_lie_where_the_template_says():
    assert make_decoder().points5_xy is None
    points = make_decoder(face_template=TEMPLATE).points5_xy
    assert torch.allclose(points[0], torch.tensor([0.8, 0.9]) * 12)


def test_gradients_reach_latents():
    decoder = make_decoder().double()
    latents = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: decoder.images_from_latents(z)[:, :, ::5, ::5], latents)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stage_channels": []}, "stage_channels=.*one or more"),
        ({"latent_size": 0}, "latent_size=0 .*from 1 to"),
        ({"face_template": [[0, 0]]}, "face_template=.*five points"),
    ],
)
def test_settings_that_describe_no_network_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        FaceDecoderConfig(**settings)
