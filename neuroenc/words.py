"""One way to cut texts into words, in any script.

A word is a run of letters, marks (vowel signs, accents) and digits. Scripts that are written without blanks
(Chinese, Japanese hiragana, Thai, Lao, Khmer, Burmese) are cut into characters with their marks, as the word
boundaries of Unicode (UAX 29) have it where there is no dictionary; katakana stays together.
"""

from __future__ import annotations

import unicodedata

import regex

ALONE = r"[[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]&&\p{L}]"
RUN = rf"[[\p{{L}}\p{{N}}]--{ALONE}][[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d]--{ALONE}]*"
WORD = regex.compile(rf"(?V1){ALONE}\p{{M}}*|{RUN}(?:['’]{RUN})*")
PLAIN = regex.compile(rf"(?V1){ALONE}\p{{M}}*|{RUN}")
CHARACTER = regex.compile(rf"(?V1){ALONE}\p{{M}}*")
# say little about what is seen
COMMON = frozenset([
    "a", "an", "and", "are", "as", "at", "below", "above", "by", "for", "from", "in", "into", "is", "it",
    "its", "left", "little", "near", "of", "on", "or", "over", "right", "some", "something", "the",
    "there", "things", "to", "two", "three", "under", "up", "very", "with",
])  # fmt: skip


def words(text: str) -> list[str]:
    """Split a text into lower-case words, in composed Unicode; punctuation is dropped, it's is one word."""
    return WORD.findall(unicodedata.normalize("NFC", text).lower())


def plain_words(text: str) -> list[str]:
    """As `words`, but cut at apostrophes, and without words of one letter."""
    found = PLAIN.findall(unicodedata.normalize("NFC", text).lower())
    return [w for w in found if len(w) > 1 or CHARACTER.fullmatch(w)]


def content_words(text: str) -> list[str]:
    """As `plain_words`, without common words and what holds digits."""
    return [w for w in plain_words(text) if w not in COMMON and not any(c.isdigit() for c in w)]
