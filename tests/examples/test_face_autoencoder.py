"""The autoencoder that trains a face decoder: its losses against PyTorch's, its folder as a decoder's, its basis."""

import torch
from face_autoencoder import FaceAutoencoder, kl_from_standard_normal, reconstruction_errors
from latent_basis import latent_moments, rebased_decoder
from torch import distributions

from farl_hf.modeling import FaceDecoderConfig, FaceDecoderModel

CONFIG = {"latent_size": 6, "grid_size": 4, "stage_channels": [8, 8, 8]}


def make_autoencoder(seed=0, num_attributes=3):
    torch.manual_seed(seed)
    model = FaceAutoencoder(FaceDecoderConfig(**CONFIG), num_attributes)
    for module in model.modules():  # fresh stages are their shortcuts; these are not
        if getattr(module, "starts_at_zero", False):
            torch.nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def test_kl_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(5, 4), torch.randn(5, 4)
    expected = distributions.kl_divergence(
        distributions.Normal(mean, (log_variance / 2).exp()), distributions.Normal(0.0, 1.0)
    ).sum(dim=1)
    torch.testing.assert_close(kl_from_standard_normal(mean, log_variance), expected)


def test_errors_outside_the_photo_do_not_count():
    images, targets = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    inside = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    inside[:, :, 4:12, 2:14] = True
    before = reconstruction_errors(images, targets, inside, 2.0)
    changed = torch.where(inside, images, torch.rand_like(images))
    torch.testing.assert_close(reconstruction_errors(changed, targets, inside, 2.0), before)
    assert all(value > 0.05 for value in before)


def test_errors_are_means_in_units_of_pixel_values():
    targets = torch.full((1, 3, 16, 16), 0.5)
    inside = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    pixel, gradient = reconstruction_errors(targets + 0.25, targets, inside, 2.0)
    assert torch.isclose(pixel, torch.tensor(0.25))
    assert torch.isclose(gradient, torch.tensor(0.0), atol=1e-6)  # shifting all alike changes no difference
    ramp = torch.linspace(0, 0.15, 16).expand(1, 3, 16, 16)
    _, gradient = reconstruction_errors(targets + ramp, targets, inside, 0.0, num_scales=1)
    assert torch.isclose(gradient, torch.tensor(0.01 / 2), atol=1e-6)  # 0.01 along rows, nothing along columns


def test_the_centre_counts_more():
    targets, inside = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool)
    at_centre, at_rim = targets.clone(), targets.clone()
    at_centre[..., 7:9, 7:9] = 1
    at_rim[..., :2, :2] = 1
    for weight, ratio in ((0.0, 1.0), (2.0, 2.0)):
        pixel = [float(reconstruction_errors(images, targets, inside, weight)[0]) for images in (at_centre, at_rim)]
        assert pixel[0] / pixel[1] >= ratio - 1e-6


def test_it_learns_to_draw_what_it_sees():
    model = make_autoencoder().train()
    torch.manual_seed(0)
    images = torch.rand(8, 3, 1, 1).expand(8, 3, 32, 32).contiguous()
    attributes = (images[:, :, 0, 0] > 0.5).long()
    inside = torch.ones(8, 1, 32, 32, dtype=torch.bool)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    parts = []
    for _ in range(80):
        outputs = model(images, inside, attributes)
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
        parts.append({name: float(value.detach()) for name, value in outputs.parts.items()})
    assert set(parts[0]) == {"pixel", "gradient", "kl", "attribute"}
    assert parts[-1]["pixel"] < 0.5 * parts[0]["pixel"]
    assert parts[-1]["attribute"] < 0.7 * parts[0]["attribute"]


def test_unlabelled_attributes_and_none_are_fine():
    model = make_autoencoder()
    images, inside = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool)
    unlabelled = model(images, inside, torch.full((2, 3), -100))
    assert unlabelled.parts["attribute"].detach() == 0
    assert torch.equal(unlabelled.loss, model(images, inside).loss)


def test_the_decoder_loads_from_the_autoencoders_folder(tmp_path):
    model = make_autoencoder()
    model.save_pretrained(tmp_path)
    decoder, loading = FaceDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    latents = decoder.sample_latents(2)
    assert torch.equal(decoder.images_from_latents(latents), model.decoder.images_from_latents(latents))


def test_a_rebased_decoder_draws_the_same_faces_of_standard_normal_latents():
    model = make_autoencoder()
    torch.nn.init.normal_(model.encoder.to_latents.weight, std=0.2)
    images = torch.rand(64, 3, 32, 32) * torch.rand(64, 3, 1, 1)
    mean, covariance = latent_moments(model, images.split(20))
    means = model.encoder(images)[0].detach().double()
    torch.testing.assert_close(mean, means.mean(dim=0))
    rebased = rebased_decoder(model.decoder, mean, covariance)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.sqrt() @ vectors.t()
    torch.testing.assert_close(root @ root.t(), covariance)
    u = torch.randn(5, 6)
    expected = model.decoder.images_from_latents((mean + u.double() @ root.t()).float())
    torch.testing.assert_close(rebased.images_from_latents(u), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model.decoder.images_from_latents(u), expected, atol=1e-3)
