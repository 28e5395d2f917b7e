"""Write what each key of the configuration is by default into the tables of config/README.md.

Run it after a change of `neuroenc/config/`; a test holds the tables against the models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from neuroenc import config

README = Path(__file__).parents[1] / "config/README.md"
ENCODERS = (
    config.Ridge, config.Banded, config.PLS, config.Factorised, config.Gaussian, config.SemanticTransformer,
    config.ResponseCore, config.Attention, config.Probing, config.RandomAttention,
)  # fmt: skip
SECTIONS: dict[str, tuple[type[config.Section], ...]] = {
    "Configuration": (config.Config,), "dataset": (config.Dataset,), "simulate": (config.Simulation,),
    "split": (config.Split,), "models": (config.Model,), "encoders": ENCODERS, "stack": (config.Stack,),
    "decoders": (config.RidgeDecoding, config.NetworkDecoding, config.Prior),
    "augment": (config.Augmentation,), "transfer": (config.Transfer,), "classifier": (config.Classifying,),
    "reconstruction": (config.Reconstruction,), "shapes": (config.Shapes,), "captions": (config.VoxelCaptions,),
    "captioners": (config.ModelCaptioner,),
    "synthesis": (config.Synthesis,), "contributions": (config.Contributions,),
    "evaluation": (config.Evaluation,),
    "comparisons": (config.Comparison,), "partition": (config.Partition,),
    "learning_curve": (config.LearningCurve,), "similarity": (config.Similarity,),
    "figures": (config.Figures,), "sets": (config.JointStudy,), "joint": (config.JointDecoding,),
}  # fmt: skip


def default(section: type[config.Section], key: str) -> str:
    """Write the default of a key."""
    field = section.model_fields[key]
    value: Any = field.get_default(call_default_factory=True)
    if key == "name" and value is not PydanticUndefined:
        return "the label"
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, config.Section | dict) and value:
        return "its defaults" if isinstance(value, config.Section) else ", ".join(map(str, value))
    if isinstance(value, list | dict):
        return "empty"
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, int | float) else f"`{value}`"


def cell(heading: str, keys: list[str]) -> str:
    """Write the defaults of a row; where sections differ, each with its name."""
    made = []
    for key in keys:
        by_value: dict[str, list[str]] = {}
        for section in SECTIONS[heading]:
            if key in section.model_fields:
                label = section.model_fields.get("name")
                name = str(label.default) if label and section is not config.Dataset else "prior"
                by_value.setdefault(default(section, key), []).append(name)
        if len(by_value) == 1:
            made += by_value
        else:
            made.append("; ".join(f"{', '.join(names)}: {value}" for value, names in by_value.items()))
    return made[0] if len(set(made)) == 1 else " / ".join(made)


def fill(text: str) -> str:
    """Return the text of config/README.md with the third column of its tables written anew."""
    heading, lines = "", []
    for line in text.splitlines():
        if found := re.match(r"#+ `?(\w+)", line):
            heading = found[1]
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        keys = re.findall(r"`(\w+)`", cells[0]) if line.startswith("| `") else []
        if line.startswith("| key |"):
            line = "| key | meaning | default |"
        elif line.startswith("|---|"):
            line = "|---|---|---|"
        elif keys:
            line = f"| {cells[0]} | {cells[1].removesuffix(' |')} | {cell(heading, keys)} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(fill(README.read_text()))
