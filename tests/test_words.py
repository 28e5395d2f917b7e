import re

import pytest

from neuroenc.words import content_words, plain_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("लाल बिल्ली, चटाई पर।", ["लाल", "बिल्ली", "चटाई", "पर"]),
        ("قِطٌّ أَحْمَر", ["قِطٌّ", "أَحْمَر"]),
        ("สีแดง", ["สี", "แ", "ด", "ง"]),
        ("一只红色的猫。", list("一只红色的猫")),
        ("カタカナ とひら がな", ["カタカナ", *"とひらがな"]),
        ("東京タワー2024", ["東", "京", "タワー2024"]),
        ("نمی‌خواهم", ["نمی‌خواهم"]),
        ("Ma\u0308dchen", ["mädchen"]),
        ("it's the dog’s 'ball'", ["it's", "the", "dog’s", "ball"]),
        ("빨간 고양이", ["빨간", "고양이"]),
        ("😀 !", []),
    ],
)
def test_words_keep_their_marks(text, expected):
    assert words(text) == expected


def test_words_that_differ_in_a_vowel_sign_differ():
    assert words("की") != words("के") and words("ลี") != words("ลา")


def test_plain_words_of_english_are_those_of_scikit_learn():
    text = "A man's 2 red_ cats sat on the 3rd mat; it isn't o'clock, x-ray café."
    pattern = re.compile(r"(?u)\b\w\w+\b")
    assert plain_words(text) == [w.strip("_") for w in pattern.findall(text.lower())]
    assert plain_words("猫 a b") == ["猫"]


def test_content_words_leave_out_common_ones_and_numbers():
    found = content_words("Two things: the Kätzchen's red-blue box, 3 of it")
    assert found == ["kätzchen", "red", "blue", "box"]
    assert content_words("Another one of them is standing behind several others") == ["standing"]
