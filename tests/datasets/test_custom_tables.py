"""Tables of a folder of one's own: what they say is what is read, or one line says why not."""

import numpy as np
import pytest
import yaml

from neuroenc.config import Dataset
from neuroenc.datasets import custom
from neuroenc.errors import InputError

IDS = ["001", "002", "010", "100"]
TRIALS = "stimulus_id\n" + "".join(f"{i}\n" for i in IDS)
VALUES = np.arange(8.0).reshape(4, 2)


@pytest.fixture
def read(tmp_path):
    """Write the tables; return stimuli and responses."""

    def call(stimuli=TRIALS, trials=TRIALS, *, neuroids=None, responses=VALUES, subject="1"):
        section = {
            "presentations": "trials.csv",
            "responses": "y.csv" if isinstance(responses, str) else "y.npy",
        }
        tables = {"stimuli.csv": stimuli, "trials.csv": trials}
        if isinstance(responses, str):
            tables["y.csv"] = responses
        else:
            np.save(tmp_path / "y.npy", responses)
        if neuroids is not None:
            section["neuroids"] = "neuroids.csv"
            tables["neuroids.csv"] = neuroids
        for name, text in tables.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        about = {
            "name": "M",
            "units": "a",
            "stimuli": {"table": "stimuli.csv"},
            "subjects": {subject: section},
        }
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
        options = Dataset(name="custom", root=str(tmp_path))
        return custom.load_stimuli(options, [subject]), custom.load_responses(options, subject)

    return call


def rows(header, *cells):
    return "\n".join([header, *(f"{i},{c}" for i, c in zip(IDS, cells, strict=True))]) + "\n"


def test_words_and_zeros_stay_and_blanks_around_names_go(read):
    stimuli, responses = read(
        rows("stimulus_id, group ,caption,caption_2", "A,null,", "NA,None, two ", "null,nan,x", "1,NA,n/a"),
        rows("stimulus_id,session,run", "01,1", "01,1.0", " 2 ,2", "2,2"),
    )
    assert stimuli["stimulus_id"].values.tolist() == IDS
    assert stimuli["group"].values.tolist() == ["A", "NA", "null", "1"]
    assert stimuli["caption"].values.tolist() == [
        ["null", ""],
        ["None", " two "],
        ["nan", "x"],
        ["NA", "n/a"],
    ]
    assert responses["session"].values.tolist() == ["01", "01", "2", "2"]
    assert responses["run"].values.tolist() == [1, 1, 2, 2]
    assert responses["group"].values.tolist() == ["A", "NA", "null", "1"]


def test_columns_of_neuroids_by_type(read):
    _, found = read(
        neuroids="neuroid_id,hemisphere,x,y,z,noise_ceiling,roi_A\n01,L,1.5,,nan,0.5,TRUE\n1,,2,3,4,,0\n"
    )
    assert found["neuroid_id"].values.tolist() == ["1_01", "1_1"]
    assert found["hemisphere"].values.tolist() == ["L", ""]
    np.testing.assert_array_equal([found[a].values for a in "xyz"], [[1.5, 2], [np.nan, 3], [np.nan, 4]])
    np.testing.assert_array_equal(found["noise_ceiling"].values, np.float32([0.5, np.nan]))
    assert found["roi_A"].values.tolist() == [True, False]


@pytest.mark.parametrize("first", ["", "Unnamed: 0", "stimulus_id", "session"])
def test_responses_in_a_table_without_what_names_its_rows(read, first):
    labels = {"stimulus_id": IDS, "session": ["a", "a", "b", "b"]}.get(first, range(4))
    table = f"{first},v1,v2\n" + "".join(f"{i},{a},{b}\n" for i, (a, b) in zip(labels, VALUES, strict=True))
    trials = rows("stimulus_id,session", "a", "a", "b", "b")
    _, found = read(trials=trials, responses=table)
    assert found["neuroid_id"].values.tolist() == ["1_v1", "1_v2"]
    np.testing.assert_array_equal(found["response"].values, VALUES)


def test_semicolons_and_decimal_commas(read):
    table = "v1;v2\n0,51;-1,2e1\n1;2\n,5;\n-0,25;3\n"
    _, found = read(responses=table)
    right = [[0.51, -12], [1, 2], [0.5, np.nan], [-0.25, 3]]
    np.testing.assert_array_equal(found["response"].values, np.float32(right))


def test_what_is_known_of_neuroids_is_joined_by_their_names(read):
    table = "b,a\n" + "".join(f"{x},{y}\n" for x, y in VALUES)
    _, found = read(responses=table, neuroids="neuroid_id,x\na,1\nb,2\n")
    assert found["neuroid_id"].values.tolist() == ["1_b", "1_a"] and found["x"].values.tolist() == [2, 1]
    np.testing.assert_array_equal(found["response"].values, VALUES)
    with pytest.raises(InputError, match=r"names the neuroid 'b', which is not in neuroids.csv"):
        read(responses=table, neuroids="neuroid_id,x\na,1\nc,2\n")


def test_each_hemisphere_takes_its_own_neuroids(tmp_path):
    def load(neuroids):
        (tmp_path / "neuroids.csv").write_text(neuroids)
        return custom.load_responses(Dataset(name="custom", root=str(tmp_path)), "1")

    for name, values in {"left": VALUES, "right": VALUES[:, [1, 0, 0]]}.items():
        np.save(tmp_path / f"{name}.npy", values)
    for name in ("stimuli", "trials"):
        (tmp_path / f"{name}.csv").write_text("stimulus_id\n" + "\n".join(IDS) + "\n")
    section = {"presentations": "trials.csv", "neuroids": "neuroids.csv",
               "responses": {"left": "left.npy", "right": "right.npy"}}  # fmt: skip
    about = {"name": "M", "units": "a", "stimuli": {"table": "stimuli.csv"}, "subjects": {"1": section}}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
    found = load("neuroid_id,hemisphere,x,roi_A\na,R,1,1\nb,L,2,0\nc,R,3,0\nd,L,4,1\ne,R,5,0\n")
    assert found["neuroid_id"].values.tolist() == ["1_Lb", "1_Ld", "1_Ra", "1_Rc", "1_Re"]
    assert found["x"].values.tolist() == [2, 4, 1, 3, 5]
    assert found["roi_A"].values.tolist() == [False, True, True, False, False]
    with pytest.raises(InputError, match=r"neuroids.csv has no column 'hemisphere'"):
        load("neuroid_id,x\na,1\nb,2\n")
    with pytest.raises(InputError, match=r"neuroids.csv has 1 rows of hemisphere R, right.npy 3 neuroids"):
        load("neuroid_id,hemisphere\na,L\nb,L\nc,R\n")


Y = "v1,v2\n1,2\n3,4\n5,7\n7,8\n"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"stimuli": rows("stimulus_id,group", "a", "", "b", "b")}, "stimuli.csv has no group in line 3. Fill it in"),
        ({"stimuli": rows("stimulus_id,Group", *"aabb")}, r"a column 'Group' \(did you mean 'group'\?\)"),
        ({"stimuli": rows("stimulus_id,groups", *"aabb")}, r"a column 'groups' \(did you mean 'group'\?\)"),
        ({"stimuli": rows("stimulus_id,captions", *"aabb")}, r"a column 'captions' \(did you mean 'caption'\?\)"),
        ({"stimuli": rows("stimulus_id,category face", *"0011")}, r"\(did you mean 'category_…'\?\)"),
        ({"stimuli": rows("stimulus id,group", *"aabb")}, r"no column 'stimulus_id'.*did you mean 'stimulus id'"),
        ({"stimuli": rows("stimulus_id,group,group", *["a,b"] * 4)}, "has two columns 'group'"),
        ({"stimuli": rows("stimulus_id,split", "train", "test", "Train", "test")}, "line 4 .*'Train'.*did you mean 'train'"),
        ({"stimuli": rows("stimulus_id,category_a", *"01-1")[:-1] + "1\n"}, "'category_a' in line 4 .*'-'. Allowed: .* at least 0"),
        ({"stimuli": rows("stimulus_id,category_a", "0", "-1", "0", "1")}, "'category_a' in line 3 .*'-1'. Allowed: .* at least 0"),
        ({"stimuli": rows("stimulus_id,category_a", "yes", "no", "0", "1")}, "'category_a' in line 2 .*'yes'"),
        ({"stimuli": TRIALS + "100 \n"}, "names stimulus_id '100' more than once"),
        ({"stimuli": "stimulus_id\n"}, "has a header and no rows"),
        ({"stimuli": ""}, "stimuli.csv is empty"),
        ({"trials": rows("stimulus_id,run", "1", "", "2", "2")}, "'run' in line 3 .*''. Allowed: whole numbers"),
        ({"trials": rows("stimulus_id,run", "run-01", "1", "2", "2")}, "'run' in line 2 .*'run-01'"),
        ({"trials": rows("stimulus_id,sessions", *"1122")}, "did you mean 'session'"),
        ({"trials": "stimulus_id\n001\n\n010\n100\n"}, "trials.csv has no stimulus_id in line 3"),
        ({"neuroids": "neuroid_id,roi_A\na,yes\nb,no\n"}, "'roi_A' in line 2 .*'yes'. Allowed: 0 or 1, true or false"),
        ({"neuroids": "neuroid_id,roi_A\na,1\nb,\n"}, "'roi_A' in line 3 .*''. Allowed: 0 or 1"),
        ({"neuroids": "neuroid_id,hemisphere\na,left\nb,R\n"}, "'hemisphere' in line 2 .*'left'. Allowed: 'L', 'R', ''"),
        ({"neuroids": "neuroid_id,x\na,left\nb,1\n"}, "'x' in line 2 .*'left'. Allowed: a finite number"),
        ({"neuroids": 'neuroid_id,x\na,"0,5"\nb,1\n'}, "'x' in line 2 .*'0,5'. Allowed: .*decimal point"),
        ({"neuroids": "neuroid_id,x\na,inf\nb,1\n"}, "'x' in line 2 .*'inf'. Allowed: a finite number"),
        ({"neuroids": "neuroid_id,vertex\na,5\nb,\n"}, "'vertex' in line 3 .*''. Allowed: whole numbers from 0"),
        ({"neuroids": "neuroid_id,noise_ceiling\na,45\nb,20\n"}, "'noise_ceiling' in line 2 .*'45'. Allowed: a finite number up to 1"),
        ({"neuroids": "neuroid_id,ROI_A\na,1\nb,0\n"}, "did you mean 'roi_…'"),
        ({"responses": Y.replace("3,4", "3,4,")}, "Line 3 of .*y.csv has 3 cells, its header 2"),
        ({"responses": Y.replace("3,4", "3")}, "Line 3 of .*y.csv has 1 cells, its header 2"),
        ({"responses": Y.replace("3,4", "3,x")}, "'v2' in line 3 .*'x'. Allowed: a finite number"),
        ({"responses": Y.replace("v2", "v1")}, "two columns 'v1'"),
        ({"responses": "trial,v1\n1,2\n2,4\n3,7\n4,8\n"}, "Column 'trial' of .*y.csv numbers its rows"),
        ({"responses": "image_id,v1\n7,2\n2,4\n2,7\n4,8\n"}, "Column 'image_id' of .*y.csv names its rows"),
        ({"responses": "stimulus_id,v1\n001,2\n010,4\n002,7\n100,8\n"}, "Line 3 of .*y.csv has the stimulus_id '010', line 3 of .*trials.csv '002'"),
        ({"responses": "run,v1\n1,2\n1,4\n2,7\n2,8\n"}, "y.csv has a column 'run' that names trials or stimuli and is no neuroid"),
        ({"responses": "Onset,v1\n0,2\n1.5,4\n3.2,7\n5,8\n"}, "y.csv has a column 'Onset' that"),
        ({"responses": ",v1\n5,2\n4,4\n9,7\n1,8\n"}, "Column 1 of .*y.csv has no name"),
        ({"responses": "stimulus_id\n001\n002\n010\n100\n"}, "no column of responses"),
        ({"responses": "v1;v2\n0,5;1.5\n1;2\n3;4\n5;6\n"}, "'1.5'. Allowed: .*decimal comma"),
        ({"responses": VALUES * 1j}, "y.npy holds complex128, expected real numbers"),
        ({"responses": VALUES * 1e300}, r"y.npy holds 1e\+300 at \(0, 1\): infinite, or beyond"),
        ({"responses": VALUES.astype(str)}, "y.npy holds <U32, expected real numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(read, tables, message):
    with pytest.raises(InputError, match=message) as caught:
        read(**tables)
    assert "\n" not in str(caught.value)


def test_the_check_says_what_will_be_found(read, tmp_path, run):
    values = VALUES[[0, 1, 2, 3, 0]].copy()
    values[:, 1] = 7
    values[1] = np.nan
    read(
        rows("stimulus_id,group,caption,note", "a,x,1", "a,,1", "b,y,1", "b,,1"),
        rows("stimulus_id,session", *"1122") + "001,3\n", responses=values,
    )  # fmt: skip
    status, out, err = run(
        "data", "check", "--options", '{"name": "custom"}', "--root", tmp_path, "--subject", "1"
    )
    assert status == 0, err
    assert "4 stimuli, 0 of them for testing, 2 groups, 2 with text (at most 1 each)" in out
    assert "1 presentations without any value (first '002')" in out
    assert "1 constant neuroids (first '1_1')" in out
    assert (
        "each stimulus 1 to 2 times (median 1), 3 sessions ('1', '2', '3'), noise ceiling from repeats of 1 stimuli"
        in out
    )
    assert "stimuli.csv: not read are the columns 'note'" in out


@pytest.mark.parametrize("first", [0.0, 10.0, -3.25])
@pytest.mark.parametrize("step", [1, 1.5, -10])
def test_a_clock_is_no_response(read, first, step):
    """Of a name that tells nothing; responses may count a few rows up."""
    table = "stimulus_id\n" + "".join(f"{i:03d}\n" for i in range(12))
    clock = first + step * np.arange(12)
    values = 1e-13 * np.random.default_rng(0).normal(size=12)  # tesla

    def csv():
        return "v1,q\n" + "".join(
            f"{v!r},{q!r}\n" for v, q in zip(values.tolist(), clock.tolist(), strict=True)
        )

    with pytest.raises(InputError, match=r"'q' of .*y.csv (goes up or down evenly|numbers its rows)"):
        read(table, table, responses=csv())
    clock[3] += 0.01
    assert read(table, table, responses=csv())[1].sizes["neuroid"] == 2
