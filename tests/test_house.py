"""The rules of the house: who may import whom, what costs nothing to import, what is exported, what ships."""

import ast
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "keepsight"
MODULES = sorted(SOURCE.rglob("*.py"))

# From the roof down: a room imports from lower lines only. A room is a folder or a file right below keepsight/.
LAYERS = [
    ["cli"],
    ["cli_build", "cli_diagnose", "cli_judge", "cli_tune"],
    ["cli_help", "telling"],
    ["console", "demo", "doctor"],
    ["shelves"],
    ["explaining", "options", "sequencing"],
    ["verbs", "judge_checks", "gating", "comparing"],
    ["refs", "judging", "building"],
    ["report", "exchange"],
    ["diagnose"],  # asks, trains and compares
    ["tune"],
    ["evaluate", "tasks"],  # an environment is asked as a task
    ["envs", "models"],
    ["inference", "data", "scoring", "store", "ranks"],
    ["types"],
    ["third_party"],
    ["limits"],
    ["errors"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# The only imports that go up, each by the function that holds it: conveniences of a type, paid for when called.
EXCEPTIONS = {
    ("types", "ResultMatrix.forgetting", "scoring"),
    ("types", "ResultMatrix.report", "report"),
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, str]]:
    """(function or class around it, imported module) of every import, wherever it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((inside, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from ((inside, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            name = getattr(node, "name", "") if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else ""
            yield from imports(node, ".".join(filter(None, (inside, name))))


def breaches(room: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(room, function, imported room) of every import that does not go down."""
    for inside, module in imports(tree):
        package, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if package == "keepsight" and other in LEVEL and other != room and LEVEL[other] <= LEVEL[room]:
            yield room, inside, other


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_imports_go_down():
    rooms = [path for path in MODULES if path != SOURCE / "__init__.py"]
    assert {room_of(path) for path in rooms} <= set(LEVEL), "a new room needs its place in LAYERS"
    assert {breach for path in rooms for breach in breaches(room_of(path), parsed(path))} == EXCEPTIONS


@pytest.mark.parametrize(
    "planted",
    [
        "import keepsight.models.hf",
        "from keepsight import models",
        "from keepsight.data.readers import read_set",  # sideways
        "def f():\n    from keepsight.models import load",
        "class A:\n    def f(self):\n        import keepsight.verbs",
        "if TYPE_CHECKING:\n    from keepsight.evaluate import evaluate",
        "try:\n    import keepsight.report\nexcept ImportError:\n    pass",
    ],
)
def test_a_planted_back_edge_is_caught(planted):
    assert len(list(breaches("scoring", ast.parse(planted)))) == 1
    assert not list(breaches("cli", ast.parse(planted)))


def test_an_exception_holds_for_its_function_only():
    text = "class ResultMatrix:\n    def other(self):\n        from keepsight.report import write_html"
    assert not set(breaches("types", ast.parse(text))) & EXCEPTIONS


def importers(package: str) -> set[str]:
    """Rooms with an import of `package` anywhere."""
    return {
        room_of(path)
        for path in MODULES
        for _, module in imports(parsed(path))
        if module.partition(".")[0] == package
    }


def test_torch_is_imported_in_its_rooms_only():
    assert importers("torch") <= {"models", "inference", "tune", "diagnose", "ranks"}


RAISING = ("exists", "is_dir", "is_file", "is_symlink")


def raising_questions(tree: ast.Module) -> list[str]:
    """Calls that raise OSError on some Pythons where `os.path` answers False on all: a long name, a closed folder."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.args)
    return [
        f"line {func.lineno}: {func.attr}"
        for func in calls
        if isinstance(func, ast.Attribute) and func.attr in RAISING
    ]


def test_paths_are_asked_about_with_os_path():
    found = {str(path): lines for path in MODULES if (lines := raising_questions(parsed(path)))}
    assert found == {}
    assert raising_questions(ast.parse("Path(x).expanduser().is_dir()\nos.path.exists(x)")) == [
        "line 1: is_dir"
    ]


HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "sentence_transformers", "matplotlib")
LIGHT = (
    "keepsight",
    "keepsight.types",
    "keepsight.store",
    "keepsight.scoring",
    "keepsight.scoring.forgetting",
    "keepsight.scoring.tables",
    "keepsight.evaluate",
    "keepsight.report",
    "keepsight.verbs",
    "keepsight.console",
    "keepsight.diagnose",
    "keepsight.explaining",
    "keepsight.gating",
    "keepsight.exchange",
    "keepsight.tasks",
    "keepsight.data.drawn",
    "keepsight.tune.config",
    "keepsight.cli",
)
PROBE = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
    for heavy in sys.argv[1].split(","):
        if heavy in sys.modules:
            sys.exit(f"importing {name} imports {heavy}")
"""


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120
    )


def test_what_must_be_light_imports_nothing_heavy():
    assert python("-c", PROBE, ",".join(HEAVY), *LIGHT).stderr == ""


def test_a_heavy_import_would_be_seen(tmp_path):
    (tmp_path / "torch.py").touch()
    (tmp_path / "careless.py").write_text("import torch\n")
    assert (
        "importing careless imports torch" in python("-c", PROBE, "torch", "careless", path=tmp_path).stderr
    )


def test_help_and_lists_do_not_import_torch():
    """`-X importtime` names every module that a command imports."""
    for command in (["--help"], ["ls", "tasks"]):
        done = python("-X", "importtime", "-m", "keepsight.cli", *command)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0 and "typer" in imported
        assert not imported & set(HEAVY), command


def top_level_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """(defined, imported from keepsight) at module level, TYPE_CHECKING blocks included."""
    defined, imported = set(), set()
    nodes = list(tree.body)
    for node in nodes:
        if isinstance(node, ast.If):
            nodes += node.body
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("keepsight"):
            imported |= {alias.asname or alias.name for alias in node.names}
    return defined, imported


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_all_is_what_is_exported(path):
    tree = parsed(path)
    defined, imported = top_level_names(tree)
    names = exported(tree)
    if names is None:
        assert path.name == "__init__.py" and not defined | imported, "a module with names needs __all__"
        return
    assert len(set(names)) == len(names) and set(names) <= defined | imported
    only_exports = path.name == "__init__.py" and not any(not name.startswith("_") for name in defined)
    if only_exports:
        assert set(names) == imported, "a package that only exports exports all it imports"
    if path.name == "__init__.py":
        functions = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        assert {name for name in functions if not name.startswith("_")} <= set(names)


def test_every_exported_name_of_the_package_can_be_had():
    import keepsight

    light = [name for name in keepsight.__all__ if name != "ForgettingCallback"]  # is a class of transformers
    assert all(getattr(keepsight, name) is not None for name in light)
    assert set(keepsight.__all__) <= set(dir(keepsight))
    assert not {path.stem for path in SOURCE.iterdir()} & set(keepsight.__all__), "a room would hide the name"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        keepsight.nonsense  # noqa: B018


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_a_socket_to_elsewhere_is_refused_and_loopback_is_not():
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # a documentation address that nobody has
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


NO_SOCKETS = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
"""


def test_an_audit_opens_no_socket(tmp_path):
    (tmp_path / "replay.jsonl").write_text('{"id": "none", "text": "A"}\n')
    audit = "['keepsight', 'audit', 'replay:replay.jsonl', 'replay:replay.jsonl', '--tasks', 'emt:letters', "
    audit += "'--judges', 'label,taxonomy', '--limit', '3', '--output_path', 'out']"
    command = f"{NO_SOCKETS}\nimport os\nos.chdir({str(tmp_path)!r})\nsys.argv = {audit}\n"
    done = python("-c", command + "from keepsight.cli import main\nmain()")
    assert (
        "socket" not in done.stderr
        and done.returncode == 3
        and (tmp_path / "out" / "forgetting.html").exists()
    )
    planted = python("-c", f"{NO_SOCKETS}\nimport socket\nsocket.getaddrinfo('localhost', 80)")
    assert planted.returncode == 1 and "socket.getaddrinfo" in planted.stderr


def test_the_wheel_holds_the_package_data():
    from hatchling.builders.wheel import WheelBuilder

    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    there = {
        path.relative_to(ROOT / "src").as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == there
    assert {"keepsight/py.typed", "keepsight/report/page.html.j2", "keepsight/report/page.css"} <= shipped
    assert not [name for name in shipped if name.endswith((".bin", ".pt", ".pth", ".pkl", ".pickle"))]


MACHINE_PATH = re.compile(
    rf"{re.escape(str(ROOT.resolve()))}|/home/\w|/Users/\w|/root/\w|/work/\w|C:\\\\Users"
)


def tracked_text() -> Iterator[tuple[str, str]]:
    """(name, text) of every tracked text file but this one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_names_a_place_on_somebodys_machine():
    found = [(name, match.group()) for name, text in tracked_text() if (match := MACHINE_PATH.search(text))]
    assert found == []
    assert MACHINE_PATH.search(f"see {ROOT.resolve()}/README.md") and not MACHINE_PATH.search(
        "out/homework/x"
    )
