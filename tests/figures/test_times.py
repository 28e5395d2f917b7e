"""Where the time of a run went: sums worked out by hand, and a process that says what it took."""

import json
import os
import re
import subprocess
import sys

from neuroenc.figures.times import stage_times


def test_times_of_a_run(tmp_path):
    for place, seconds, used, loading in (
        ("encode_fit/a", 10, 8.0, 2.0),
        ("encode_fit/b", 5, 4.0, 1.0),
        ("split", 2, 2.0, 1.5),
    ):
        for path, text in ((tmp_path / "benchmarks" / f"{place}.jsonl", json.dumps({"s": seconds})),
                           (tmp_path / f"{place}.log", f"took 99.0 s of processor time, 9.0 s of it loading libraries\n"
                            f"took {used} s of processor time, {loading} s of it loading libraries\n")):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / "snakemake.log").write_text("took 6.0 s of processor time, 6.0 s of it Snakemake itself\n")
    lines = [line.split() for line in stage_times(tmp_path).splitlines()]
    assert lines[1] == ["encode_fit", "2", "15.0", "12.0", "3.0"]
    assert lines[2] == ["split", "1", "2.0", "2.0", "1.5"]
    assert lines[3][:2] == ["20", "s"] and lines[3][5:7] == ["52", "%"]  # 10.5 of 20


def test_a_command_says_what_it_took():
    words = ["-m", "neuroenc", "config", "schema"]
    run = subprocess.run(
        [sys.executable, *words], env=os.environ | {"NEUROENC_TIMES": "1"}, capture_output=True, text=True
    )
    used, loading = map(
        float, re.search(r"took ([\d.]+) s of .*, ([\d.]+) s of it loading", run.stderr).groups()
    )
    assert 0 < loading <= used
    plain = {k: v for k, v in os.environ.items() if k != "NEUROENC_TIMES"}
    assert not subprocess.run([sys.executable, *words], env=plain, capture_output=True, text=True).stderr
