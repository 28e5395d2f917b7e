"""Modules of torch: their names in files of weights, and that they can be handled as any class."""

import pickle

import numpy as np
import torch

from neuroenc.decoders.atm import EpochEncoder
from neuroenc.decoders.diffusion import Schedule
from neuroenc.decoders.network import BrainNetwork
from neuroenc.decoders.prior import Prior
from neuroenc.decoders.prior_transformer import PriorTransformer
from neuroenc.decoders.residual import ResidualNetwork
from neuroenc.decoders.unet import PictureUNet

BLOCK = ["inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias", "last.weight", "last.bias"]
LAYER = [
    *(f"norm1.{k}" for k in ("weight", "bias")),
    *(f"attn1.{k}.{v}" for k in ("to_q", "to_k", "to_v", "to_out.0") for v in ("weight", "bias")),
    *(f"norm3.{k}" for k in ("weight", "bias")),
    *(f"ff.net.{k}.{v}" for k in ("0.proj", "2") for v in ("weight", "bias")),
]  # fmt: skip


def test_names_of_the_weights_of_the_network_stay():
    module = ResidualNetwork({"a": 3, "b": 5}, 4, 2, 0.1, 2)
    assert list(module.state_dict()) == [
        *(f"first.s{s}.{k}" for s in "ab" for k in ("weight", "bias")),
        *(f"blocks.{i}.{k}" for i in range(2) for k in BLOCK), "head.weight", "head.bias",
        *(f"first_straight.s{s}.{k}" for s in "ab" for k in ("weight", "bias")),
    ]  # fmt: skip
    epochs = list(EpochEncoder(2, 20, 4, 0.1).state_dict())
    assert epochs[0] == "who" and epochs[-2:] == ["out.weight", "out.bias"]
    assert {k.split(".")[0] for k in epochs} == {"who", "attention", "filters", "out"}
    assert [k for k in epochs if k.startswith("filters")] == [
        f"filters.{i}.{k}" for i in (0, 2, 4, 5) for k in ("weight", "bias")
    ]


def test_names_of_the_weights_of_the_prior_stay():
    module = Prior((1, 6), (2, 8), 2, 2, 4, 0.0, 0)
    assert set(module.state_dict()) == {
        "null",
        *(f"transformer.{k}" for k in ("positional_embedding", "clip_mean", "clip_std")),
        *(f"transformer.{k}.{v}" for k in (
            "time_embedding.linear_1", "time_embedding.linear_2", "proj_in", "embedding_proj", "norm_out",
            "proj_to_clip_embeddings",
        ) for v in ("weight", "bias")),
        *(f"transformer.transformer_blocks.{i}.{k}" for i in range(2) for k in LAYER),
    }  # fmt: skip


def test_the_prior_and_the_small_decoder_are_those_of_diffusers():
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from diffusers import PriorTransformer as Theirs

    torch.manual_seed(0)
    theirs = Theirs(
        num_attention_heads=2, attention_head_dim=4, num_layers=2, embedding_dim=8, embedding_proj_dim=6,
        num_embeddings=3 + 1 + 2, additional_embeddings=0, dropout=0.1, encoder_hid_proj_type=None,
        added_emb_type=None,
    )  # fmt: skip
    torch.manual_seed(0)
    ours = PriorTransformer((3, 6), (2, 8), 2, 2, 4, 0.1)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    noisy, time, given = torch.randn(5, 2, 8), torch.randint(100, (5,)), torch.randn(5, 3, 6)
    torch.manual_seed(1)
    expected = theirs.train()(noisy, time, given).predicted_image_embedding
    torch.manual_seed(1)
    torch.testing.assert_close(ours.train()(noisy, time, given), expected)

    unet = UNet2DConditionModel(
        sample_size=16, in_channels=31, out_channels=27, down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), mid_block_type="UNetMidBlock2D",
        block_out_channels=(64, 96), layers_per_block=1, norm_num_groups=16, attention_head_dim=32,
        class_embed_type="simple_projection", projection_class_embeddings_input_dim=65,
    )  # fmt: skip
    small = PictureUNet(31, 27, 65)
    assert list(small.state_dict()) == list(unet.state_dict())
    small.load_state_dict(unet.state_dict())
    x, time, given = torch.randn(3, 31, 16, 16), torch.randint(1000, (3,)), torch.randn(3, 65)
    torch.testing.assert_close(small(x, time, given), unet(x, time, None, class_labels=given).sample)

    for n, clip in ((100, False), (1000, True)):
        peer = DDIMScheduler(
            n, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=clip,
            timestep_spacing="trailing", rescale_betas_zero_snr=clip,
        )  # fmt: skip
        schedule = Schedule(n, zero_signal=clip, clip=clip)
        torch.testing.assert_close(schedule.signal, peer.alphas_cumprod)
        for steps in (1, 7, 20, 50):
            peer.set_timesteps(steps)
            assert schedule.times(steps) == peer.timesteps.tolist()
            for t in schedule.times(steps):
                found = 2 * torch.randn(x.shape)
                torch.testing.assert_close(
                    schedule.step(found, t, x, steps), peer.step(found, t, x).prev_sample
                )
        time = torch.randint(n, (3,))
        torch.testing.assert_close(schedule.add_noise(x, found, time), peer.add_noise(x, found, time))


def test_a_fitted_decoder_is_pickled_and_its_module_subclassed():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 12)).astype("f4"), rng.normal(size=(40, 6)).astype("f4")
    fitted = BrainNetwork(3, n_hidden=8, n_blocks=1, max_epochs=1, n_times=6).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))

    class Doubled(ResidualNetwork):
        def decode(self, x, subject):
            return 2 * super().decode(x, subject)

    torch.manual_seed(0)
    one = ResidualNetwork({"1": 12}, 8, 1, 0.0, 3)
    two = Doubled({"1": 12}, 8, 1, 0.0, 3)
    two.load_state_dict(one.state_dict())
    batch = torch.from_numpy(np.c_[X, np.zeros(40, "f4")])
    torch.testing.assert_close(two(batch), 2 * one(batch))
    prior = Prior((1, 6), (1, 8), 1, 2, 4, 0.0, 0).eval()
    again = pickle.loads(pickle.dumps(prior))
    torch.testing.assert_close(again(batch[:, :1].expand(-1, 14)), prior(batch[:, :1].expand(-1, 14)))
