"""A tiny Shap-E of the very classes the real weights load into, and its table of marching cubes, built anew."""

import numpy as np

EDGES = [
    *(((0, y, z), (1, y, z)) for y, z in ((0, 0), (1, 0), (0, 1), (1, 1))),
    *(((x, 0, z), (x, 1, z)) for x, z in ((0, 0), (1, 0), (0, 1), (1, 1))),
    *(((x, y, 0), (x, y, 1)) for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))),
]  # in the order of the renderer
NUMBER = {frozenset(edge): i for i, edge in enumerate(EDGES)}


def faces():
    """The six faces of the cube, four corners each, anticlockwise seen from outside."""
    for axis in range(3):
        for side in (0, 1):
            ring = [(0, 0), (1, 0), (1, 1), (0, 1)]
            if side == 0:
                ring.reverse()
            # (axis, next, next but one) turn as (x, y, z) do
            yield [
                tuple({axis: side, (axis + 1) % 3: u, (axis + 2) % 3: v}[k] for k in range(3))
                for u, v in ring
            ]


def triangles(case):
    """Triangles between the edges of a cube, whose corner x + 2 y + 4 z is inside where that bit of `case` is."""
    inside = lambda c: case >> (c[0] + 2 * c[1] + 4 * c[2]) & 1  # noqa: E731
    following = {}
    for ring in faces():
        pairs = [(ring[k], ring[(k + 1) % 4]) for k in range(4)]
        enter = [k for k, (a, b) in enumerate(pairs) if not inside(a) and inside(b)]
        for k in enter:  # where the corners that are inside end again: they are cut off
            leave = next(j % 4 for j in range(k + 1, k + 4) if not inside(pairs[j % 4][1]))
            following[NUMBER[frozenset(pairs[k])]] = NUMBER[frozenset(pairs[leave])]
    found = []
    while following:
        first, edge = following.popitem()
        loop = [first]
        while edge != first:
            loop.append(edge)
            edge = following.pop(edge)
        found += [(loop[0], loop[k], loop[k + 1]) for k in range(1, len(loop) - 1)]
    return found


def table():
    """Return the buffers `cases` (256, 5, 3) and `masks` (256, 5)."""
    cases, masks = np.zeros((256, 5, 3), np.int64), np.zeros((256, 5), bool)
    for case in range(256):
        found = triangles(case)
        cases[case, : len(found)] = np.array(found).reshape(-1, 3)
        masks[case, : len(found)] = True
    return cases, masks


def tiny(seed=0):
    """A pipeline with random weights."""
    import torch
    from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEImg2ImgPipeline
    from diffusers.pipelines.shap_e import ShapERenderer
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    eye = CLIPVisionModel(CLIPVisionConfig(
        hidden_size=16, image_size=32, intermediate_size=24, num_attention_heads=2, num_hidden_layers=2,
        patch_size=8,
    ))  # fmt: skip
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=16, num_embeddings=32, embedding_proj_dim=16,
        time_embed_dim=32, num_layers=1, clip_embed_dim=32, additional_embeddings=0, time_embed_act_fn="gelu",
        norm_in_type="layer", embedding_proj_norm_type="layer", encoder_hid_proj_type=None, added_emb_type=None,
    )  # fmt: skip
    renderer = ShapERenderer(
        param_shapes=((8, 93), (8, 8), (8, 8), (8, 8)), d_latent=16, d_hidden=8, n_output=12,
        background=(0.1, 0.1, 0.1),
    )  # fmt: skip
    renderer.mesh_decoder.cases.copy_(torch.from_numpy(table()[0]))
    renderer.mesh_decoder.masks.copy_(torch.from_numpy(table()[1]))
    return ShapEImg2ImgPipeline(
        prior=prior, image_encoder=eye, shap_e_renderer=renderer,
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        scheduler=HeunDiscreteScheduler(
            beta_schedule="exp", num_train_timesteps=1024, prediction_type="sample", use_karras_sigmas=True,
            clip_sample=True, clip_sample_range=1.0,
        ),
    )  # fmt: skip
