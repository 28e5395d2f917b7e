import pytest

from neuroenc.config import Dataset, load_config, parse
from neuroenc.documents import read_json, read_object, read_yaml
from neuroenc.errors import InputError


def test_a_mapping_is_read_and_a_mark_is_taken_off(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(
        "\ufeffname: grün\nn: [1, 0x10, '01', 1e-3, 08]\nbase: &b {a: 1}\nmore: {<<: *b, a: 2}\n".encode()
    )
    assert read_yaml(path) == {
        "name": "grün", "n": [1, 16, "01", "1e-3", "08"], "base": {"a": 1}, "more": {"a": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("# für\na: 1".encode("latin-1"), "is not UTF-8: byte 0xfc in line 1. Save it as UTF-8"),
        ("a: 1".encode("utf-16"), "is UTF-16. Save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "zero byte in line 1"),
        (b"PK\x03\x04\x14\0", "is a workbook .*a table as CSV"),
        (b"a: {b: 1\nc: [1", "cannot be read as YAML in line 2"),
        (b"a: 1\n\tb: 2", "cannot be read as YAML in line 2"),
        (b"", "holds nothing, expected keys with values"),
        (b"- 1\n", "holds a list, expected keys"),
        (b"a: 1\nb: 2\na: 3\n", "in line 3: the key 'a' stands twice"),
        (b"subjects: [01]", r"in line 1: 01 is read as a number \(1\); put a name in quotes: '01'"),
        (b"subjects: {010: x}", r"010 is read as a number \(8\)"),
        (b"a: 2020-99-99", "cannot be read as YAML: month must be"),
        (b"a: !!timestamp x", "cannot be read as YAML"),
        (b"a: !!python/object:os.system {}", "cannot be read as YAML in line 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, data, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    for read in (read_yaml, load_config):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"rows": [1]}')
    assert read_json(path, "rows") == {"rows": [1]}
    with pytest.raises(InputError, match="has no key 'cols'"):
        read_json(path, "cols")
    path.write_text('{"a": 1, "a": 2}')
    with pytest.raises(InputError, match="the key 'a' stands twice"):
        read_json(path)
    path.write_text('{"a": 1')
    with pytest.raises(InputError, match="is not JSON"):
        read_json(path)
    with pytest.raises(InputError, match=r"Cannot read .* Is a directory"):
        read_json(tmp_path)


def test_names_that_are_numbers_are_to_be_quoted():
    with pytest.raises(InputError, match=r"'regions.0': 1. A name must be text: put it in quotes"):
        parse(Dataset, {"name": "nsd", "regions": [1]})


def test_a_list_in_the_place_of_an_object_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text('["V1", "V2"]')
    with pytest.raises(InputError, match=r"a\.json holds a list, expected keys with values"):
        read_object(tmp_path / "a.json")
