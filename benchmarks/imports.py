"""What it costs before neuroenc does anything: `python benchmarks/imports.py`; least processor time of three runs.

Of each command what its function imports, beside `import numpy, xarray`; of `neuroenc encode fit` and others that
choose an estimator when they run that comes on top.
"""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path

ALWAYS = {
    "import numpy, xarray": "import numpy, xarray",
    "import neuroenc": "import neuroenc",
    "neuroenc --help": "import sys; from neuroenc.cli import main; sys.argv = ['neuroenc', '--help']; main()",
}


def commands() -> dict[str, str]:
    """Name each command and what it imports."""
    found = {}
    for path in sorted(Path("neuroenc/cli").glob("*.py")):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.decorator_list:
                imports = [n for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
                found[function.name.replace("_", " ", 1)] = "\n".join(
                    ["import neuroenc.cli", *map(ast.unparse, imports)]
                )
    return found


def seconds(code: str) -> float:
    """Least processor time of three runs."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


if __name__ == "__main__":
    base = seconds(ALWAYS["import numpy, xarray"])
    for name, code in (ALWAYS | commands()).items():
        spent = seconds(code)
        print(f"{name:28s}{spent:6.2f} s {spent - base:+6.2f}", flush=True)
