"""How long it takes until neuroenc says something: `python benchmarks/imports.py`; fastest of five runs each."""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = {
    "import neuroenc": ["-c", "import neuroenc"],
    "neuroenc --help": ["-m", "neuroenc", "--help"],
    "import numpy, xarray": ["-c", "import numpy, xarray"],
}

if __name__ == "__main__":
    for name, arguments in COMMANDS.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        print(f"{name:24s}{min(times):6.2f} s")
