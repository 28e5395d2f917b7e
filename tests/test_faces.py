"""What each package offers: functions, whatever was imported before, and nothing heavy until it is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import neuroenc

PACKAGES = ("datasets", "features", "encoders", "evaluation", "decoders", "figures")
HEAVY = {"torch", "sklearn", "matplotlib", "nilearn", "xarray", "pandas", "scipy"}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_is_there_and_is_no_module(package):
    module = import_module(f"neuroenc.{package}")
    assert len(set(module.__all__)) == len(module.__all__) > 1
    for name, home in module.HOMES.items():
        import_module(f"neuroenc.{package}.{home}")
        if (Path(neuroenc.__file__).parent / package / f"{name}.py").exists():
            import_module(f"neuroenc.{package}.{name}")  # a module of the same name
        found = getattr(module, name)
        assert not isinstance(found, ModuleType) and found.__module__ == f"neuroenc.{package}.{home}"
        assert name in module.__all__ and name in dir(module)
    with pytest.raises(AttributeError, match=f"module 'neuroenc.{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_same_names(package):
    tree = ast.parse((Path(neuroenc.__file__).parent / package / "__init__.py").read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    seen = {
        alias.name: node.module.rpartition(".")[2]
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"neuroenc.{package}.")
        for alias in node.names
    }
    assert seen == import_module(f"neuroenc.{package}").HOMES


def test_packages_load_nothing_heavy():
    code = f"import sys, {', '.join(f'neuroenc.{p}' for p in PACKAGES)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not HEAVY & set(done.stdout.split())
