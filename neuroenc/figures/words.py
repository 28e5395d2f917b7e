"""Words of regions: as large as the share of voxels that want them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from neuroenc.figures import style

TOPIC_COLOURS = {"person": style.COLOURS[0], "place": style.COLOURS[1], "food": style.COLOURS[2]}


def draw_words(table: pd.DataFrame, out: str | Path) -> None:
    """Draw a cloud for each region, and its share of voxels about people, places and food.

    Parameters
    ----------
    table : DataFrame
        Of `decoders.voxel_words.region_words`.
    out : path
    """
    from wordcloud import WordCloud

    names = list(dict.fromkeys(table["region"]))
    if not names:
        fig, ax = style.figure(figsize=(4, 1.5))
        ax.set_axis_off()
        ax.text(0.5, 0.5, "No voxel has a confident caption.", ha="center", va="center")
        style.save(fig, out)
        return
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    fig, axes = style.figure(
        lines + 1, columns, figsize=(2.4 * columns, 1.5 * lines + 2.4), squeeze=False,
        height_ratios=[1] * lines + [1.5],
    )  # fmt: skip
    for ax, name in zip(axes[:-1].ravel(), names, strict=False):
        mine = table[(table["region"] == name) & (table["kind"] == "word")]
        frequency = dict(zip(mine["word"], mine["share"], strict=True))
        cloud = WordCloud(
            width=480, height=260, background_color="white", colormap="cividis", random_state=0,
            relative_scaling=1, prefer_horizontal=1.0,
        ).generate_from_frequencies(frequency)  # fmt: skip
        ax.imshow(cloud.to_array(), interpolation="bilinear")
        ax.set_title(f"{name} ({int(mine['n_voxels'].iloc[0])} voxels)", fontsize=8)
    for ax in axes.ravel():
        ax.set_axis_off()
    grid = axes[-1, 0].get_gridspec()
    for ax in axes[-1]:
        ax.remove()
    ax = fig.add_subplot(grid[-1, :])
    topics = table[table["kind"] == "topic"]
    width = 0.8 / len(TOPIC_COLOURS)
    for k, (topic, colour) in enumerate(TOPIC_COLOURS.items()):
        mine = topics[topics["word"] == topic].set_index("region").reindex(names)
        error = np.abs(np.array([mine["share"] - mine["low"], mine["high"] - mine["share"]]))
        ax.bar(
            np.arange(len(names)) + (k - 1) * width, mine["share"], width, yerr=error, color=colour,
            error_kw={"lw": 0.8}, label=topic,
        )  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    ax.set_ylabel("share of voxels")
    ax.set_ylim(0, 1)
    ax.legend(frameon=False, fontsize=7, ncols=3)
    style.save(fig, out)
