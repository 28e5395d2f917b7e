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
# say little about what is seen: determiners, pronouns, prepositions, conjunctions, auxiliaries, numbers
COMMON = frozenset(
    """
    a an another any both each either every few many more most much neither no other others several some such
    that the these this those all
    he her hers him his i it its itself me my one ones our she something their them themselves they thing
    things us we what which who whom whose you your
    about above across after against along among around as at away before behind below beneath beside between
    beyond by down during for from in inside into near next of off on onto out outside over past through to
    together toward towards under underneath until up upon via with within without
    and because but if nor or so than then though when where while
    am are be been being could did do does doing get gets getting had has have having is may might must
    should was were will would
    also here just left little not only quite right there too very
    two three four five six seven eight nine ten
    """.split()  # noqa: SIM905
)


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
