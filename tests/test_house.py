"""The house rules of docs/architecture.md, held by reading the sources: who imports whom, budgets, one test per module.

An exception is one line in a table below, with its reason; a line that is no longer needed fails too.
"""

import ast
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from router.config import load

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "router").rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60  # of code
USUAL_FUNCTION_LINES = 40
NESTING = 4
PARAMETERS = 7

# A module imports from rows above its own, or its own. The longest matching prefix counts.
ROWS: dict[str, int] = {
    "router": 1,  # the package itself: its version and the words
    "router.errors": 1,
    "router.ended": 1,
    "router.exchange": 1,
    "router.recent": 1,
    "router.config": 2,
    "router.compat": 2,
    "router.relay.retry": 2,
    "router.access": 2,
    "router.backends": 2,
    "router.tracing": 2,
    "router.tracing.tracer": 3,
    "router.translate": 2,
    "router.wire.sse": 2,
    "router.wire": 3,
    "router.backends.checker": 3,
    "router.backends.load": 3,
    "router.backends.discovery": 3,
    "router.middleware": 3,
    "router.middleware.fitness": 2,
    "router.middleware.interface": 2,
    "router.middleware.record": 2,
    "router.observe": 3,
    "router.observe.redaction": 2,
    "router.relay": 4,
    "router.handlers": 5,
    "router.simulator": 5,
    "router.app": 6,
    "router.bridging": 6,
    "router.changing": 6,
    "router.observer": 6,
    "router.parts": 6,
    "router.reload": 6,
    "router.securing": 6,
    "router.tapping": 6,
    "router.vitals": 6,
    "router.orders": 1,
    "router.process": 7,
    "router.server": 7,
    "router.cli": 7,
    "router.translate_command": 7,
    "router.backends_command": 7,
    "router.logs_command": 7,
    "router.logs_files": 7,
    "router.logs_filter": 7,
    "router.backends_table": 7,
    "router.__main__": 7,
}
PURE_ROW = 2
IMPURE = {
    *("tornado", "uvloop", "httptools", "asyncio", "concurrent", "threading", "multiprocessing", "selectors", "select"),
    *("socket", "socketserver", "ssl", "http.client", "http.server", "urllib.request", "subprocess", "signal"),
    *("random", "secrets", "time", "tempfile", "shutil"),
}
IMPURE_CALLS = {"open", "input", "print", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
MAY_READ_FILES = "router.config"  # loading a configuration reads files
# What a module may import beyond its row, and why it is no clock or socket that decides something.
MAY_IMPORT: dict[str, set[str]] = {
    "router.config.certificates": {"ssl", "time"},  # the reader of the files that it checks; a note where one has ended
}

# Functions over USUAL_FUNCTION_LINES and not over FUNCTION_LINES: "module:function" -> reason.
LONG_FUNCTIONS: dict[str, str] = {
}
# Modules without a test file of their own: -> where they are tested and why.
TESTED_ELSEWHERE: dict[str, str] = {}
# Calls that make a value and do nothing else, so a module may make them while it is imported. Classes (Capitalised
# names) and methods of literals are allowed besides.
VALUE_CALLS = {
    *("frozenset", "tuple", "set", "dict", "list", "range", "len", "min", "max", "sorted", "zip", "enumerate", "sum"),
    *("int", "float", "str", "bytes", "bool", "super", "type", "property", "staticmethod", "classmethod", "reversed"),
    *("re.compile", "re.escape", "logging.getLogger", "field", "dataclass", "dataclasses.field", "auto", "enum.auto"),
    *("str.maketrans", "bytes.maketrans", "timedelta", "partial", "functools.partial", "cache", "lru_cache"),
    *("namedtuple", "itemgetter", "attrgetter", "struct.Struct", "version", "product", "itertools.product", "chain"),
    *("model_validator", "field_validator", "field_serializer", "contextmanager", "asynccontextmanager", "wraps"),
    *("msgspec.json.Decoder", "msgspec.json.Encoder", "msgspec.field", "orjson.dumps", "json.dumps", "overload"),
    *("dataclasses.dataclass", "dict.fromkeys"),
}
# Methods of strings, bytes and dictionaries.
VALUE_METHODS = {
    *("split", "splitlines", "strip", "lower", "upper", "encode", "join", "format", "removesuffix", "removeprefix"),
    *("items", "keys", "values", "setter"),
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), module)


def dotted(module: str) -> str:
    """router/wire/sse.py -> router.wire.sse; a package's __init__ is the package."""
    return module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


KNOWN = {dotted(module) for module in MODULES}


def row_of(name: str) -> int:
    while name not in ROWS:
        name = name.rpartition(".")[0]
    return ROWS[name]


def absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    package = dotted(module).split(".") if module.endswith("__init__.py") else dotted(module).split(".")[:-1]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def type_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING`."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    return {inner for block in blocks for inner in ast.walk(block)}


def imports_of(module: str, *, at_run_time: bool = False) -> Iterator[str]:
    """Every module that is imported, wherever in the file; `from package import module` counts as the module."""
    passed_over = type_only(tree_of(module)) if at_run_time else set()
    for node in ast.walk(tree_of(module)):
        if node in passed_over:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in KNOWN else base


def own_imports(module: str, *, at_run_time: bool = False) -> set[str]:
    names = imports_of(module, at_run_time=at_run_time)
    return {name for name in names if name == "router" or name.startswith("router.")}


def call_name(node: ast.expr) -> str:
    """a.b.c of a call's function; a literal counts as its type's name, anything else as ?."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{call_name(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return call_name(node.value)
    if isinstance(node, ast.Constant | ast.JoinedStr | ast.Dict | ast.List | ast.Tuple | ast.Set):
        return "literal"
    return "?"


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_rows_above_or_the_own_one(module: str) -> None:
    row = row_of(dotted(module))
    below = {name for name in own_imports(module) if row_of(name) > row}

    assert not below, f"{module} is of row {row} and must not import {sorted(below)}"


def test_every_own_import_names_a_module_that_exists() -> None:
    missing = {(module, name) for module in MODULES for name in own_imports(module) if name not in KNOWN}

    assert not missing


def test_imports_make_no_circle() -> None:
    """Imports within functions count: a circle is a wrong cut, however late it closes. Those for types alone do not."""
    waiting = {dotted(module): own_imports(module, at_run_time=True) - {dotted(module)} for module in MODULES}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}

    assert not waiting, f"these import each other, or what does: {sorted(waiting)}"


def test_only_the_server_imports_the_composition_root() -> None:
    users = {module for module in MODULES if "router.app" in own_imports(module)}

    assert users <= {"router/server.py", "router/process/worker.py"}


def test_translation_and_backends_do_not_know_each_other() -> None:
    for one, other in (("router.translate", "router.backends"), ("router.backends", "router.translate")):
        users = {
            module
            for module in MODULES
            if dotted(module).startswith(one) and any(name.startswith(other) for name in own_imports(module))
        }
        assert not users, f"{sorted(users)} import from {other}"


@pytest.mark.parametrize("module", [module for module in MODULES if row_of(dotted(module)) == 1])
def test_the_first_row_needs_the_standard_library_only(module: str) -> None:
    foreign = {name for name in imports_of(module) if name.split(".")[0] not in {"router", *sys.stdlib_module_names}}

    assert not foreign


@pytest.mark.parametrize("module", [module for module in MODULES if row_of(dotted(module)) <= PURE_ROW])
def test_what_decides_has_no_sockets_clocks_or_dice(module: str) -> None:
    """Time, randomness and bytes come in as arguments, so that every decision can be tested as a function."""
    imported = set(imports_of(module))
    impure = {name for name in imported if any(f"{name}.".startswith(f"{bad}.") for bad in IMPURE)}
    impure -= MAY_IMPORT.get(dotted(module), set())
    calls = {call_name(node.func) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)}
    called = {call for call in calls for bad in IMPURE_CALLS if call == bad or call.endswith(f".{bad}")}
    if dotted(module).startswith(MAY_READ_FILES):
        called -= {"open"}

    assert not impure, f"{module} imports {sorted(impure)}"
    assert not called, f"{module} calls {sorted(called)}"


@pytest.mark.parametrize("module", MODULES)
def test_no_global_names_are_rebound(module: str) -> None:
    lines = [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Global)]

    assert not lines, f"{module}: `global` in lines {lines}"


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run while a module is imported; class bodies are entered, functions are not."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.ClassDef):
            yield from at_import(statement.body)
        elif isinstance(statement, ast.If) and "__name__" not in ast.unparse(statement.test):
            yield from at_import(statement.body + statement.orelse)


def calls_made_by(statement: ast.stmt) -> Iterator[str]:
    """The calls of one statement that run with it: decorators, defaults and values; bodies of functions do not."""
    parts: list[ast.AST] = []
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        parts += [*statement.decorator_list, *statement.args.defaults, *filter(None, statement.args.kw_defaults)]
    elif isinstance(statement, ast.ClassDef):
        parts += [*statement.decorator_list, *statement.bases]
    elif not isinstance(statement, ast.If):
        parts.append(statement)
    while parts:
        node = parts.pop()
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield call_name(node.func)
        parts += ast.iter_child_nodes(node)


def makes_a_value(call: str) -> bool:
    last = call.rpartition(".")[2]
    return call in VALUE_CALLS or last in VALUE_METHODS or last[:1].isupper() or call.startswith("literal.")


@pytest.mark.parametrize("module", [module for module in MODULES if not module.endswith("__main__.py")])
def test_importing_a_module_does_no_work(module: str) -> None:
    """Definitions and constants only: no loop, no file, no call that does more than make a value."""
    own = {node.name for node in tree_of(module).body if isinstance(node, ast.FunctionDef)}
    imported = {name.rpartition(".")[2] for name in own_names_imported(module)}
    for statement in at_import(tree_of(module).body):
        assert not isinstance(statement, ast.For | ast.While | ast.With | ast.Try), f"{module}:{statement.lineno}"
        working = {
            call
            for call in calls_made_by(statement)
            # A function of our own may make a constant: it is a pure one, or its module could not be imported here.
            if not makes_a_value(call) and call.split(".")[0] not in own | imported
        }
        assert not working, f"{module}:{statement.lineno} calls {sorted(working)} while it is imported"


def own_names_imported(module: str) -> Iterator[str]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and absolute(node, module).startswith("router"):
            yield from (alias.asname or alias.name for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_fits_its_budget(module: str) -> None:
    lines = len((ROOT / module).read_text().splitlines())

    assert lines <= MODULE_LINES, f"{module} has {lines} lines"


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_of(module: str) -> Iterator[tuple[str, Function]]:
    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    return visit(tree_of(module), "")


def code_lines(function: Function, source: list[str]) -> int:
    """Lines of code from `def` to the end; docstring, comments and blank lines do not count."""
    first = function.body[0]
    skipped: set[int] = set()
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        skipped = set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    numbers = range(function.lineno, (function.end_lineno or function.lineno) + 1)
    texts = (source[number - 1].strip() for number in numbers if number not in skipped)
    return sum(1 for text in texts if text and not text.startswith("#"))


BLOCKS = ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.With | ast.AsyncWith | ast.Match


def depth(node: ast.AST) -> int:
    """How deep control statements nest; `elif` is as deep as its `if`, a nested function starts anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (1 if isinstance(child, BLOCKS) and not is_elif else 0))
    return deepest


def parameters(function: Function) -> int:
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    extra = (args.vararg is not None) + (args.kwarg is not None)
    return len([name for name in names if name not in ("self", "cls")]) + extra


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_their_budget(module: str) -> None:
    source = (ROOT / module).read_text().splitlines()
    over: list[str] = []
    for name, function in functions_of(module):
        lines = code_lines(function, source)
        limit = FUNCTION_LINES if f"{module}:{name}" in LONG_FUNCTIONS else USUAL_FUNCTION_LINES
        if lines > limit:
            over.append(f"{name}: {lines} lines of code, at most {limit}")
        if (levels := depth(function)) > NESTING:
            over.append(f"{name}: nested {levels} deep, at most {NESTING}")
        if (count := parameters(function)) > PARAMETERS:
            over.append(f"{name}: {count} parameters, at most {PARAMETERS}")

    assert not over, f"{module}: " + "; ".join(over)


def test_every_exception_for_a_long_function_is_needed() -> None:
    needed = {
        f"{module}:{name}"
        for module in MODULES
        for name, function in functions_of(module)
        if code_lines(function, (ROOT / module).read_text().splitlines()) > USUAL_FUNCTION_LINES
    }

    assert set(LONG_FUNCTIONS) <= needed


def has_code(module: str) -> bool:
    """Whether there is anything to test: a package's __init__ with a docstring, imports and names has not."""
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree_of(module).body)


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__init__.py") or has_code(m)])
def test_every_module_has_a_test_file(module: str) -> None:
    """router/wire/sse.py is tested in tests/wire/test_sse.py, so that nobody has to search."""
    path = Path(module).relative_to("router")
    expected = ROOT / "tests" / path.parent / f"test_{path.stem.strip('_')}.py"

    assert expected.exists() or module in TESTED_ELSEWHERE, f"{expected.relative_to(ROOT)} is missing"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_its_rule(module: str) -> None:
    tree = tree_of(module)

    assert not tree.body or ast.get_docstring(tree), f"{module} has no docstring"


# Written in pieces, so that this file passes its own test.
NOT_OURS = re.compile(
    "|".join(
        (
            r"/wo" r"rk/(main|shared|\.)",
            r"/tm" r"p/w/",
            r"\bpy" r"pi\.org|python" r"hosted\.org|npm" r"js\.(org|com)|crates" r"\.io|proxy\.go" r"lang\.org",
            r"\bcla" r"ude\b|\bAI[ -]ass" r"istant|\bAI[ -]ag" r"ent|written by an? (AI|LL" r"M)|gener" r"ated with",
        )
    ),
    re.IGNORECASE,
)
SKIPPED_FOLDERS = re.compile(r"\.git|\.venv|build|dist|__pycache__|\.\w+_cache|\.hypothesis|data")  # data: recordings
TEXT_SUFFIXES = {
    *("", ".c", ".example", ".lua", ".md", ".py", ".service", ".sh", ".socket", ".toml", ".txt", ".yaml", ".yml")
}


def texts() -> Iterator[Path]:
    found: list[Path] = []
    for folder, below, names in os.walk(ROOT):
        # Not even looked into: what tools and other tests keep there may go meanwhile.
        below[:] = [name for name in below if not SKIPPED_FOLDERS.fullmatch(name)]
        found += (Path(folder, name) for name in names)
    for path in sorted(found):
        if path.suffix in TEXT_SUFFIXES and path.is_file():
            yield path


def test_within_a_class_or_a_function_one_empty_line_parts_what_follows() -> None:
    sources = [path for path in texts() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "router"]
    assert sources
    assert [path.name for path in sources if re.search(r"\n\n\n[ ]+\S", path.read_text())] == []


def test_nothing_names_one_machine_or_a_package_registry() -> None:
    """What comes from where is the business of whoever installs; a path of one machine means nothing elsewhere."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if (match := NOT_OURS.search(line))
    ]

    assert not found


def test_the_shipped_configuration_loads() -> None:
    """It has to be named by its own path, with nothing from the environment."""
    assert load(ROOT / "conf" / "router.yaml", environ={}).config.backends
