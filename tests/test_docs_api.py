"""The reference is written from docstrings: shapes of arrays, errors that are raised, sources of methods."""

import ast
import importlib
import inspect
import re

import pytest

from tests.conftest import ROOT

ROOMS = (
    "arrays",
    "datasets",
    "features",
    "encoders",
    "evaluation",
    "decoders",
    "figures",
    "splits",
    "unions",
)
ARRAY = re.compile(r"ndarray|NDArray|ArrayLike|\bArray\b|Tensor|\bFloats\b")
# (n_stimuli, n_neuroids), "shape", a number beside an array, or labelled arrays that carry their own
SHAPE = re.compile(
    r"shape|\([^()]*\bn?_?\w+,[^()]*\)|of text|mapping|sequence of|scalar|as in `|As in `|As `", re.I
)
YEAR = re.compile(r"\b(19|20)\d\d\b")
# names whose method was published: where it is said (class, function or module), a year or an arXiv number stands
PUBLISHED = {
    "encoders": ("AttentionRouting", "BandedRidgeCV", "EfficientProbing", "FactorisedCV", "GaussianFieldCV", "PLS",
                 "RandomAttentionCV", "ResponseCore", "RidgeCV", "SemanticTransformer", "stack_weights"),
    "decoders": ("BrainNetwork", "DiffusionPrior", "JointDecoder"),
    "evaluation": ("explainable_variance", "fdr", "permutation_p", "split_half", "two_versus_two", "noise_ceiling"),
}  # fmt: skip


def public():
    """(name, function or class) of what the rooms' faces offer, with the public methods that neuroenc defines."""
    for room in ROOMS:
        module = importlib.import_module(f"neuroenc.{room}")
        names = getattr(module, "__all__", None) or [
            n for n, v in vars(module).items()
            if n[0] != "_" and inspect.isfunction(v) and v.__module__ == module.__name__
        ]  # fmt: skip
        for name in names:
            found = getattr(module, name)
            if inspect.isfunction(found):
                yield f"{room}.{name}", found
            elif inspect.isclass(found):
                yield f"{room}.{name}", found
                for method, function in vars(found).items():
                    if method[0] != "_" and inspect.isfunction(
                        inspect.unwrap(getattr(function, "__func__", function))
                    ):
                        yield f"{room}.{name}.{method}", getattr(function, "__func__", function)


PUBLIC = dict(public())


def sections(text):
    """The parts of a numpydoc docstring by their headings."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(text or ""), flags=re.M)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(text):
    """Name to type and description; names that share a line share both."""
    found = {}
    for entry in re.split(r"^(?=\S)", text, flags=re.M):
        names, _, rest = entry.partition("\n")
        told, _, kind = names.partition(" : ")
        for name in told.split(","):
            found[name.strip().lstrip("*")] = f"{kind}\n{rest}"
    return found


def parameters(found):
    function = found.__init__ if inspect.isclass(found) else found
    try:
        return {n: p for n, p in inspect.signature(function).parameters.items() if n not in ("self", "cls")}
    except (TypeError, ValueError):
        return {}


def same(name):
    found = PUBLIC[name]
    return sections(found.__doc__), parameters(found)


@pytest.mark.parametrize("name", PUBLIC)
def test_it_says_what_it_is(name):
    assert PUBLIC[name].__doc__, name


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_those_of_the_signature(name):
    told, known = same(name)
    if "Parameters" not in told or (inspect.isclass(PUBLIC[name]) and "__init__" not in vars(PUBLIC[name])):
        return
    listed = set(entries(told["Parameters"])) - {""}
    assert listed <= set(known), listed - set(known)
    assert {n for n in known if n[0] != "_"} <= listed, set(known) - listed


@pytest.mark.parametrize("name", PUBLIC)
def test_arrays_have_shapes(name):
    told, known = same(name)
    listed = entries(told.get("Parameters", ""))
    for parameter, about in known.items():
        kind = str(about.annotation)
        said = listed.get(parameter, "")
        if ARRAY.search(kind) or re.match(r"(nd)?array", said):
            assert SHAPE.search(said or told["Summary"]), f"{parameter}: {kind}: {said!r}"


@pytest.mark.parametrize("name", PUBLIC)
def test_errors_that_are_raised_are_listed(name):
    found = PUBLIC[name]
    if inspect.isclass(found):
        return
    body = re.sub(r'""".*?"""', "", inspect.getsource(found), count=1, flags=re.S)
    if re.search(r"^\s+raise (?!$|AttributeError|AssertionError)\w", body, re.M):
        assert "Raises" in sections(found.__doc__)


@pytest.mark.parametrize("name", [f"{room}.{n}" for room, names in PUBLISHED.items() for n in names])
def test_published_methods_name_their_source(name):
    found = PUBLIC[name]
    said = (found.__doc__ or "") + (inspect.getdoc(inspect.getmodule(found)) or "")
    assert YEAR.search(said), name


def functions():
    """(file, name) to (docstring, parameters with their types) of every public function in the rooms."""
    found = {}
    for path in sorted((ROOT / "neuroenc").rglob("*.py")):
        if path.parent.name in ("cli", "simulation"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and ast.get_docstring(node):
                a = node.args
                types = {
                    x.arg: ast.unparse(x.annotation) if x.annotation else ""
                    for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)
                }
                types |= {x.arg: "" for x in (a.vararg, a.kwarg) if x}
                known = {n: t for n, t in types.items() if n not in ("self", "cls") and n[0] != "_"}
                found[f"{path.relative_to(ROOT)}:{node.name}"] = (ast.get_docstring(node), known)
    return found


def test_inside_too_parameters_are_those_of_the_signature_and_arrays_have_shapes():
    rows = re.compile(r"\bint arrays?\b|\barrays? of int\b|of any shape|of the shape|list of str|callable")
    wrong = []
    for name, (text, known) in functions().items():
        told = sections(text).get("Parameters", "")
        listed = entries(told)
        listed.pop("", None)
        if told:
            wrong += [f"{name}: {n} is no parameter" for n in set(listed) - set(known)]
            wrong += [f"{name}: {n} is not listed" for n in set(known) - set(listed) if f"`{n}`" not in told]
        wrong += [
            f"{name}: {n} has no shape" for n, kind in known.items()
            if n in listed and ARRAY.search(kind) and not (SHAPE.search(listed[n]) or rows.search(listed[n]))
        ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_what_the_checks_find():
    told = entries("X, Y : array of shape (n, p)\n    Rows.\nalpha : float\n")
    assert told["Y"].startswith("array of shape") and set(told) - {""} == {"X", "Y", "alpha"}
    assert not SHAPE.search("array\n    Of numbers.") and SHAPE.search("array, (n_stimuli, n_neuroids)")
    assert len(PUBLIC) > 120 and len(functions()) > 700
