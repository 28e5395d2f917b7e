"""A grammar of pictures: settings, one to three objects of eight categories, five captions.

Every picture is drawn from a `Scene` whose objects have a known category, kind, colour and box,
so that whatever is later said about a picture can be checked. Objects are drawn in the unit
square, y downwards, at three times the final resolution, and then reduced.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from neuroenc.words import content_words

SUPERSAMPLING = 3
COLOURS = {
    "red": (200, 40, 40), "orange": (235, 140, 30), "yellow": (240, 210, 60),
    "green": (50, 150, 70), "blue": (50, 90, 200), "purple": (130, 60, 160),
    "brown": (130, 85, 50), "white": (240, 240, 240), "black": (35, 35, 40),
}  # fmt: skip
KINDS = {
    "face": ("man", "woman"), "body": ("person",), "place": ("house", "tower"),
    "word": ("sign",), "food": ("apple", "pizza"), "animal": ("cat", "fish"),
    "vehicle": ("car", "boat"), "tool": ("hammer", "key"),
}  # fmt: skip
CATEGORIES = tuple(KINDS)
COLOUR_NAMES = tuple(COLOURS)
N_THINGS = (0.35, 0.75)  # up to where a number from 0 to 1 means one object, two; three beyond
SIGNS = ("STOP", "OPEN", "CAFE", "TAXI", "EXIT", "SALE", "BOOK", "HOME")
SETTINGS = ("meadow", "beach", "street", "room", "night", "snow")
SKIN = ((245, 215, 185), (225, 180, 140), (175, 125, 85), (110, 75, 50))

SYNONYMS = {
    "man": ("the face of a man", "a man", "a portrait of a man"),
    "woman": ("the face of a woman", "a woman", "a portrait of a woman"),
    "person": ("a standing figure", "a person seen from behind", "somebody standing"),
    "house": ("a house", "a home", "a cottage"),
    "tower": ("a tower", "a tall building", "a skyscraper"),
    "sign": ("a sign", "a board with letters", "a written word"),
    "apple": ("an apple", "a piece of fruit", "a fresh apple"),
    "pizza": ("a pizza", "a baked pizza", "a pizza to eat"),
    "cat": ("a cat", "a kitten", "a sitting cat"),
    "fish": ("a fish", "a swimming fish", "a little fish"),
    "car": ("a car", "an automobile", "a parked car"),
    "boat": ("a boat", "a ship", "a sailing boat"),
    "hammer": ("a hammer", "a hammer for nails", "a tool with a handle"),
    "key": ("a key", "a key for a lock", "a metal key"),
}
SETTING_PHRASES = {
    "meadow": ("in a meadow", "on the grass", "in a green field"),
    "beach": ("on the beach", "by the sea", "on the sand"),
    "street": ("in the street", "in the city", "on a road in town"),
    "room": ("in a room", "indoors", "inside a house"),
    "night": ("at night", "under the stars", "in the dark"),
    "snow": ("in the snow", "on a winter day", "in a snowy place"),
}
# Every concept a caption can express; synonyms share one.
CONCEPTS = (*SYNONYMS, *SETTINGS, *COLOURS, "big", "small", "left", "above", "two", "three")

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Thing:
    """One object: `box` is (x0, y0, x1, y1) in fractions of the picture's side, y downwards."""

    category: str
    kind: str
    colour: str
    box: tuple[float, float, float, float]
    style: int

    @property
    def size(self) -> float:
        """Side of the box as a fraction of the picture's side."""
        return self.box[2] - self.box[0]

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn."""

    setting: str
    things: tuple[Thing, ...]
    texture: int


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: a setting and one to three objects that hardly overlap."""
    things: list[Thing] = []
    wanted = bisect_right(N_THINGS, rng.random()) + 1
    top = {1: 0.68, 2: 0.5, 3: 0.44}[wanted]
    for _ in range(60):
        if len(things) == wanted:
            break
        category = CATEGORIES[rng.integers(len(CATEGORIES))]
        kind = KINDS[category][rng.integers(len(KINDS[category]))]
        side = float(rng.uniform(0.26, top))
        x, y = rng.uniform(0.01, 0.99 - side, 2).tolist()
        if any(_overlap((x, y, x + side, y + side), t.box) > 0.02 for t in things):
            continue
        colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
        things.append(Thing(category, kind, colour, (x, y, x + side, y + side), int(rng.integers(1 << 30))))
    setting = SETTINGS[rng.integers(len(SETTINGS))]
    return Scene(setting, tuple(things), int(rng.integers(1 << 30)))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / min((a[2] - a[0]) ** 2, (b[2] - b[0]) ** 2)


def sample_captions(
    scene: Scene, rng: np.random.Generator, n: int = 5
) -> tuple[list[str], NDArray[np.float32]]:
    """Write `n` differing captions of a scene, as several people would.

    Returns
    -------
    captions : list of str
    meaning : ndarray of shape (n_concepts,)
        How often each of `CONCEPTS` is expressed, as a fraction of the captions.
    """
    captions: list[str] = []
    meaning = np.zeros(len(CONCEPTS), np.float32)
    while len(captions) < n:
        text, said = _caption(scene, rng)
        if text not in captions:
            captions.append(text)
            meaning[[CONCEPTS.index(c) for c in said]] += 1 / n
    return captions, meaning


def _caption(scene: Scene, rng: np.random.Generator) -> tuple[str, set[str]]:
    said: set[str] = set()
    phrases = []
    order = rng.permutation(len(scene.things))
    for i in order:
        thing = scene.things[i]
        phrase = SYNONYMS[thing.kind][rng.integers(3)]
        said.add(thing.kind)
        adjectives = []
        if rng.random() < 0.35:
            adjectives.append("big" if thing.size > 0.42 else "small")
        if thing.category != "face" and rng.random() < 0.55:
            adjectives.append(thing.colour)
        said.update(adjectives)
        if adjectives:
            article, rest = phrase.split(" ", 1)
            if article in ("a", "an"):
                an = "an" if adjectives[0][0] in "aeiou" else "a"
                phrase = f"{an} {' '.join(adjectives)} {rest}"
            else:
                phrase = f"{phrase}, {' and '.join(adjectives)},"
        phrases.append(phrase)
    if len(phrases) == 1:
        text = phrases[0]
    elif rng.random() < 0.4:
        a, b = (scene.things[i].centre for i in order[:2])
        if abs(a[0] - b[0]) > abs(a[1] - b[1]):
            relation, concept = ("left of" if a[0] < b[0] else "right of"), "left"
        else:
            relation, concept = ("above" if a[1] < b[1] else "below"), "above"
        said.add(concept)
        text = f"{phrases[0]} {relation} {' and '.join(phrases[1:])}"
    else:
        text = f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    if len(phrases) > 1 and rng.random() < 0.25:
        number = {2: "two", 3: "three"}[len(phrases)]
        said.add(number)
        text = f"{number} things: {text}"
    if rng.random() < 0.7:
        said.add(scene.setting)
        text = f"{text} {SETTING_PHRASES[scene.setting][rng.integers(3)]}"
    text = text.rstrip(",").replace(",,", ",")
    return text[0].upper() + text[1:] + ".", said


def vocabulary() -> list[str]:
    """All words a caption can hold, sorted."""
    phrases = [p for group in (*SYNONYMS.values(), *SETTING_PHRASES.values()) for p in group]
    extra = "a an and big small left right of above below two three things picture"
    return sorted({*" ".join(phrases).split(), *COLOURS, *extra.split()})


def category_words() -> dict[str, set[str]]:
    """Return the content words by which captions name each category."""
    return {
        category: {w for kind in kinds for phrase in SYNONYMS[kind] for w in content_words(phrase)}
        for category, kinds in KINDS.items()
    }


def draw(scene: Scene, size: int = 128) -> NDArray[np.uint8]:
    """Draw a scene as a (size, size, 3) picture."""
    big = size * SUPERSAMPLING
    image = _background(scene.setting, big, np.random.default_rng(scene.texture))
    for thing in scene.things:
        pen = Pen(ImageDraw.Draw(image), thing.box, big)
        DRAWERS[thing.kind](pen, COLOURS[thing.colour], np.random.default_rng(thing.style))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def _background(setting: str, side: int, rng: np.random.Generator) -> Image.Image:
    """Sky or wall above, ground below, a few things that belong there, and grain over all."""
    sky, ground = {
        "meadow": ((150, 200, 240), (110, 170, 80)), "beach": ((170, 215, 245), (230, 210, 160)),
        "street": ((190, 195, 205), (105, 105, 112)), "room": ((225, 205, 180), (150, 110, 80)),
        "night": ((20, 25, 60), (30, 45, 45)), "snow": ((205, 215, 230), (245, 247, 250)),
    }[setting]  # fmt: skip
    horizon = rng.uniform(0.45, 0.65)
    rows = np.linspace(0, 1, side)[:, None]
    shade = np.where(rows < horizon, 0.85 + 0.3 * rows, 1.15 - 0.3 * rows)
    base = np.where(rows < horizon, np.array(sky), np.array(ground)) * shade
    base *= rng.uniform(0.85, 1.1)
    coarse = int(rng.integers(10, 40))
    grain = rng.normal(0, rng.uniform(4, 14), (coarse, coarse))
    ramp = Image.fromarray(np.clip(grain + 128, 0, 255).astype(np.uint8)).resize((side, side))
    canvas = base[:, None, :] + (np.asarray(ramp, float) - 128)[:, :, None]
    image = Image.fromarray(np.clip(canvas, 0, 255, out=canvas).astype(np.uint8))
    pen = Pen(ImageDraw.Draw(image), (0, 0, 1, 1), side)
    if setting == "meadow":
        for x, y in zip(rng.random(60), rng.uniform(horizon, 1, 60), strict=True):
            pen.line([(x, y), (x + 0.01, y - 0.04)], (70, 130, 55), 0.006)
    elif setting == "beach":
        pen.box(0, horizon - 0.1, 1, horizon, (60, 130, 190))
        for y in rng.uniform(horizon - 0.09, horizon - 0.01, 6):
            pen.line([(0, y), (1, y)], (150, 195, 225), 0.004)
        pen.ellipse(0.8, 0.05, 0.95, 0.2, (250, 235, 140))
    elif setting == "street":
        for x in np.arange(-rng.random() * 0.2, 1, 0.22):
            top = horizon - rng.uniform(0.15, 0.4)
            pen.box(x, top, x + 0.19, horizon, tuple(rng.integers(120, 190, 3).tolist()))
            for wy in np.arange(top + 0.03, horizon - 0.04, 0.07):
                pen.box(x + 0.03, wy, x + 0.07, wy + 0.035, (90, 100, 120))
                pen.box(x + 0.12, wy, x + 0.16, wy + 0.035, (90, 100, 120))
        for x in np.arange(0, 1, 0.2):
            pen.box(x, 0.86, x + 0.1, 0.875, (225, 225, 200))
    elif setting == "room":
        for x in np.arange(rng.random() * 0.1, 1, 0.1):
            pen.line([(x, 0), (x, horizon)], (205, 180, 150), 0.012)
        for y in np.arange(horizon, 1, 0.09):
            pen.line([(0, y), (1, y)], (120, 85, 60), 0.006)
    elif setting == "night":
        for x, y, r in zip(*rng.random((2, 45)), rng.uniform(0.003, 0.008, 45), strict=True):
            if y < horizon:
                pen.ellipse(x - r, y - r, x + r, y + r, (240, 240, 220))
        pen.ellipse(0.08, 0.06, 0.2, 0.18, (235, 235, 205))
    else:
        for x, y, r in zip(*rng.random((2, 70)), rng.uniform(0.004, 0.011, 70), strict=True):
            pen.ellipse(x - r, y - r, x + r, y + r, (255, 255, 255))
        for x in rng.random(3):
            pen.polygon([(x - 0.07, horizon), (x, horizon - 0.28), (x + 0.07, horizon)], (60, 100, 80))
    return image


@dataclass(frozen=True)
class Pen:
    """Draws in the unit square of a box of the picture."""

    canvas: ImageDraw.ImageDraw
    frame: tuple[float, float, float, float]
    side: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Turn a point of the unit square into pixels."""
        x0, y0, x1, y1 = self.frame
        return (x0 + x * (x1 - x0)) * self.side, (y0 + y * (y1 - y0)) * self.side

    def scale(self, width: float) -> int:
        """Turn a width into pixels."""
        return max(1, round(width * (self.frame[2] - self.frame[0]) * self.side))

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill an ellipse."""
        self.canvas.ellipse([self.at(x0, y0), self.at(x1, y1)], fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Any) -> None:
        """Fill a rectangle."""
        self.canvas.rectangle([self.at(x0, y0), self.at(x1, y1)], fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon."""
        self.canvas.polygon([self.at(*p) for p in points], fill=fill)

    def line(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        """Draw a line of several points."""
        self.canvas.line([self.at(*p) for p in points], fill, self.scale(width), joint="curve")

    def arc(self, box: tuple[float, ...], start: int, end: int, fill: Colour, w: float) -> None:
        """Draw a part of an ellipse's outline, angles in degrees."""
        corners = [self.at(*box[:2]), self.at(*box[2:])]
        self.canvas.arc(corners, start, end, fill, self.scale(w))


def _dark(colour: Colour, by: float = 0.6) -> Colour:
    return (int(colour[0] * by), int(colour[1] * by), int(colour[2] * by))


def _face(pen: Pen, rng: np.random.Generator, *, long_hair: bool) -> None:
    skin = SKIN[rng.integers(len(SKIN))]
    hair = ((50, 35, 25), (120, 75, 35), (215, 180, 95), (90, 90, 95))[rng.integers(4)]
    if long_hair:
        pen.ellipse(0.08, 0.0, 0.92, 0.75, hair)
        pen.box(0.08, 0.38, 0.92, 0.95, hair)
    else:
        pen.ellipse(0.15, 0.0, 0.85, 0.6, hair)
    pen.box(0.4, 0.8, 0.6, 1.0, _dark(skin, 0.85))
    pen.ellipse(0.18, 0.1, 0.82, 0.93, skin)
    if long_hair:
        pen.polygon([(0.2, 0.32), (0.5, 0.08), (0.8, 0.32), (0.5, 0.2)], hair)
    else:
        pen.polygon([(0.2, 0.3), (0.25, 0.1), (0.75, 0.1), (0.8, 0.3), (0.5, 0.22)], hair)
    for x in (0.36, 0.64):
        pen.ellipse(x - 0.09, 0.38, x + 0.09, 0.5, (250, 250, 250))
        pen.ellipse(x - 0.04, 0.395, x + 0.04, 0.485, (45, 60, 90))
        pen.line([(x - 0.1, 0.345), (x + 0.1, 0.335)], hair, 0.035)
    pen.line([(0.5, 0.46), (0.46, 0.62), (0.53, 0.63)], _dark(skin, 0.7), 0.025)
    mouth = (185, 60, 65) if long_hair else _dark(skin, 0.5)
    pen.arc((0.35, 0.58, 0.65, 0.78), 20, 160, mouth, 0.045)


def _man(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _face(pen, rng, long_hair=False)


def _woman(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _face(pen, rng, long_hair=True)


def _person(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    skin = SKIN[rng.integers(len(SKIN))]
    lift = rng.uniform(-0.3, 0.25)
    trousers = ((50, 60, 95), (70, 70, 75), (120, 100, 75))[rng.integers(3)]
    for side in (-1, 1):
        x = 0.5 + side * 0.07
        pen.line([(x, 0.55), (x + side * 0.07, 0.97)], trousers, 0.12)
        pen.ellipse(x + side * 0.07 - 0.07, 0.93, x + side * 0.07 + 0.07, 1.0, (40, 35, 35))
        elbow, hand = (0.5 + side * 0.26, 0.42 + lift / 2), (0.5 + side * 0.34, 0.56 + lift)
        pen.line([(0.5 + side * 0.12, 0.26), elbow], colour, 0.09)
        pen.line([elbow, hand], skin, 0.07)
    pen.polygon([(0.34, 0.22), (0.66, 0.22), (0.62, 0.6), (0.38, 0.6)], colour)
    pen.box(0.46, 0.14, 0.54, 0.24, skin)
    pen.ellipse(0.4, 0.0, 0.6, 0.19, (65, 45, 30))


def _house(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    wall = ((235, 220, 195), (205, 195, 190), (225, 190, 150))[rng.integers(3)]
    pen.box(0.68, 0.1, 0.79, 0.35, (120, 80, 70))
    pen.box(0.12, 0.42, 0.88, 1.0, wall)
    pen.polygon([(0.0, 0.45), (0.5, 0.04), (1.0, 0.45)], colour)
    pen.line([(0.0, 0.45), (1.0, 0.45)], _dark(colour), 0.025)
    door = float(rng.uniform(0.3, 0.55))
    pen.box(door, 0.66, door + 0.17, 1.0, (95, 60, 40))
    for x in (0.17, 0.67):
        pen.box(x, 0.52, x + 0.16, 0.66, (110, 150, 190))
        pen.line([(x + 0.08, 0.52), (x + 0.08, 0.66)], (250, 250, 250), 0.02)
        pen.line([(x, 0.59), (x + 0.16, 0.59)], (250, 250, 250), 0.02)


def _tower(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.line([(0.5, 0.0), (0.5, 0.12)], (90, 90, 95), 0.02)
    pen.box(0.28, 0.1, 0.72, 1.0, colour)
    pen.box(0.64, 0.1, 0.72, 1.0, _dark(colour))
    lit = rng.random((8, 3)) < 0.7
    for i, y in enumerate(np.linspace(0.16, 0.86, 8)):
        for j, x in enumerate((0.32, 0.43, 0.54)):
            pen.box(x, y, x + 0.07, y + 0.055, (250, 235, 150) if lit[i, j] else (60, 70, 85))
    pen.box(0.43, 0.92, 0.55, 1.0, (60, 50, 50))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _sign(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    text = SIGNS[rng.integers(len(SIGNS))]
    pen.box(0.46, 0.6, 0.54, 1.0, (110, 110, 115))
    pen.box(0.0, 0.18, 1.0, 0.68, _dark(colour, 0.5))
    pen.box(0.03, 0.21, 0.97, 0.65, colour)
    ink = (20, 20, 25) if sum(colour) > 390 else (250, 250, 250)
    pen.canvas.text(pen.at(0.5, 0.43), text, ink, _font(pen.scale(0.33)), anchor="mm",
                    stroke_width=pen.scale(0.012), stroke_fill=ink)  # fmt: skip


def _apple(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0.08, 0.22, 0.6, 0.95, colour)
    pen.ellipse(0.4, 0.22, 0.92, 0.95, colour)
    pen.ellipse(0.2, 0.55, 0.8, 1.0, colour)
    pen.ellipse(0.2, 0.35, 0.34, 0.55, (250, 250, 250))
    pen.line([(0.5, 0.32), (0.54, 0.05)], (90, 60, 35), 0.05)
    pen.polygon([(0.54, 0.16), (0.72, 0.02), (0.88, 0.1), (0.7, 0.22)], (70, 145, 60))


def _pizza(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0.0, 0.0, 1.0, 1.0, (190, 130, 65))
    pen.ellipse(0.08, 0.08, 0.92, 0.92, (245, 205, 105))
    turn = rng.uniform(0, 2 * np.pi)
    for k, radius in enumerate((0.28, 0.22, 0.3, 0.26, 0.2, 0.3, 0.05)):
        x, y = 0.5 + radius * np.cos(turn + k), 0.5 + radius * np.sin(turn + k)
        pen.ellipse(x - 0.085, y - 0.085, x + 0.085, y + 0.085, colour)
    for k in range(4):
        dx, dy = 0.46 * np.cos(turn + k * np.pi / 4), 0.46 * np.sin(turn + k * np.pi / 4)
        pen.line([(0.5 - dx, 0.5 - dy), (0.5 + dx, 0.5 + dy)], (175, 120, 55), 0.015)


def _cat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    shade = _dark(colour, 0.7)
    pen.arc((0.55, 0.35, 1.0, 0.98), 270, 90, shade, 0.09)
    pen.ellipse(0.2, 0.42, 0.8, 1.0, colour)
    for x in (0.3, 0.53):
        pen.ellipse(x, 0.86, x + 0.17, 1.0, shade)
    for x in (0.2, 0.62):
        pen.polygon([(x, 0.3), (x + 0.02, 0.0), (x + 0.2, 0.16)], shade)
    pen.ellipse(0.17, 0.08, 0.83, 0.56, colour)
    for x in (0.36, 0.64):
        pen.ellipse(x - 0.075, 0.22, x + 0.075, 0.37, (205, 225, 90))
        pen.ellipse(x - 0.025, 0.23, x + 0.025, 0.36, (15, 15, 15))
    pen.polygon([(0.45, 0.39), (0.55, 0.39), (0.5, 0.45)], (235, 140, 150))
    for dy in (-0.03, 0.03):
        pen.line([(0.02, 0.42 + 2 * dy), (0.4, 0.43)], (215, 215, 215), 0.013)
        pen.line([(0.98, 0.42 + 2 * dy), (0.6, 0.43)], (215, 215, 215), 0.013)


def _fish(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    turned = rng.random() < 0.5

    def p(x: float, y: float) -> tuple[float, float]:
        return (1 - x if turned else x), y

    pen.polygon([p(0.68, 0.5), p(1.0, 0.22), p(1.0, 0.78)], _dark(colour, 0.75))
    pen.polygon([p(0.3, 0.32), p(0.5, 0.08), p(0.66, 0.34)], _dark(colour, 0.75))
    x0, x1 = sorted((p(0.0, 0)[0], p(0.78, 0)[0]))
    pen.ellipse(x0, 0.24, x1, 0.76, colour)
    for x in (0.34, 0.46, 0.58):
        pen.line([p(x, 0.34), p(x + 0.05, 0.5), p(x, 0.66)], _dark(colour, 0.6), 0.025)
    ex = p(0.16, 0)[0]
    pen.ellipse(ex - 0.06, 0.36, ex + 0.06, 0.48, (250, 250, 250))
    pen.ellipse(ex - 0.03, 0.39, ex + 0.03, 0.45, (15, 15, 15))


def _car(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.polygon([(0.2, 0.5), (0.32, 0.24), (0.7, 0.24), (0.84, 0.5)], colour)
    pen.polygon([(0.27, 0.49), (0.36, 0.29), (0.5, 0.29), (0.5, 0.49)], (185, 215, 235))
    pen.polygon([(0.54, 0.49), (0.54, 0.29), (0.67, 0.29), (0.76, 0.49)], (185, 215, 235))
    pen.box(0.02, 0.48, 0.98, 0.73, colour)
    pen.box(0.02, 0.66, 0.98, 0.73, _dark(colour))
    pen.box(0.92, 0.52, 0.98, 0.59, (255, 240, 160))
    for x in (0.25, 0.75):
        pen.ellipse(x - 0.14, 0.6, x + 0.14, 0.88, (25, 25, 28))
        pen.ellipse(x - 0.06, 0.68, x + 0.06, 0.8, (190, 190, 195))


def _boat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.line([(0.48, 0.0), (0.48, 0.75)], (100, 70, 45), 0.035)
    pen.polygon([(0.52, 0.04), (0.52, 0.64), (0.92, 0.64)], (248, 246, 238))
    pen.polygon([(0.44, 0.12), (0.44, 0.64), (0.14, 0.64)], (225, 225, 220))
    pen.polygon([(0.0, 0.7), (1.0, 0.7), (0.82, 1.0), (0.18, 1.0)], colour)
    pen.line([(0.03, 0.75), (0.97, 0.75)], (250, 250, 250), 0.03)


def _hammer(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.line([(0.3, 0.28), (0.82, 0.96)], colour, 0.11)
    pen.polygon([(0.02, 0.36), (0.4, 0.02), (0.54, 0.18), (0.16, 0.52)], (95, 98, 105))
    pen.polygon([(0.4, 0.02), (0.62, 0.02), (0.54, 0.18)], (130, 133, 140))
    pen.line([(0.06, 0.37), (0.4, 0.07)], (165, 168, 175), 0.03)


def _key(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.line([(0.3, 0.3), (0.95, 0.95)], colour, 0.09)
    pen.line([(0.78, 0.78), (0.9, 0.66)], colour, 0.08)
    pen.line([(0.9, 0.9), (1.0, 0.78)], colour, 0.08)
    pen.arc((0.0, 0.0, 0.48, 0.48), 0, 360, colour, 0.12)


DRAWERS: dict[str, Callable[[Pen, Colour, np.random.Generator], None]] = {
    "man": _man, "woman": _woman, "person": _person, "house": _house, "tower": _tower,
    "sign": _sign, "apple": _apple, "pizza": _pizza, "cat": _cat, "fish": _fish,
    "car": _car, "boat": _boat, "hammer": _hammer, "key": _key,
}  # fmt: skip
