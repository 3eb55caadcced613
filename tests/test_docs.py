"""Every command and every piece of Python in README.md and docs/*.md runs, one document after the other as it stands.

A fenced ```bash or ```python block is run unless `<!-- not run: reason -->` stands above it or `# not run: reason` is
its first line. Blocks of one document share a folder, so that a later one finds what an earlier one made. What is not
run must at least name verbs and flags that exist.
"""

import glob
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from keepsight import cli
from tests.stub_server import StubServer, chat

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Lines that start like this are not run, wherever they stand.
NOT_RUN = {
    "make ": "does the whole set-up; CI runs it",
    "pip ": "changes the environment",
    "git ": "needs the network",
    "python3 -m venv": "makes an environment",
    "source ": "needs that environment",
    "cd ": "the commands are run in a folder of their own",
    "keepsight demo": "takes minutes; has a test of its own",
    "python -m recipes": "takes minutes; every recipe has a test",
    "python -m benchmarks": "never in the test suite",
}
FENCE = re.compile(r"^(\s*)```(\w*)[^\n]*\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- not run: (.+?) -->\s*$")
SETS_A_VARIABLE = re.compile(r"[A-Z_]+=\S*\Z").match
COMMENT = re.compile(r"\A\s*# not run: (.+)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it starts, its language, its text, and why it is not run ("" if it is)."""

    place: str
    language: str
    text: str
    excuse: str

    @property
    def lines(self) -> list[str]:
        """Shell lines, continuations joined, comments and blanks left out."""
        joined = self.text.replace("\\\n", " ")
        return [
            line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")
        ]


def blocks(text: str, name: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        indent, language, body = match.groups()
        above = text[: match.start()].rstrip()
        mark = MARK.search(above) or COMMENT.match(body)
        line = text.count("\n", 0, match.start()) + 1
        body = "\n".join(part.removeprefix(indent) for part in body.splitlines())
        found.append(Block(f"{name}:{line}", language, body, mark.group(1) if mark else ""))
    return found


def excuse(line: str) -> str:
    return next((reason for start, reason in NOT_RUN.items() if line.startswith(start)), "")


def run_line(line: str, folder: Path, monkeypatch, capsys) -> str:
    """Runs one shell line; a plain `keepsight` command in this process, so that heavy imports are paid once.

    Returns what went wrong, "" if nothing did. A partial result (3) and a failed gate (4) are results.
    """
    words = shlex.split(line, comments=True)
    setting = dict(word.split("=", 1) for word in takewhile(SETS_A_VARIABLE, words))
    words = words[len(setting) :]
    if words[:1] == ["keepsight"] and not {"|", ">", ">>", "&&", ";", "<"} & set(words):
        words = [path for word in words for path in sorted(glob.glob(word)) or [word]]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", words)
            for name, value in setting.items():
                patch.setenv(name, value)
            try:
                cli.main()
            except SystemExit as left:
                good = left.code in (None, 0, 3, 4)
                return "" if good else capsys.readouterr().err or f"exit code {left.code}"
        return ""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return "" if done.returncode == 0 else done.stderr or f"exit code {done.returncode}"


def run_python(text: str, folder: Path) -> str:
    path = folder / "block.py"
    path.write_text(text)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def failures(found: list[Block], folder: Path, monkeypatch, capsys) -> list[str]:
    """Runs the blocks in order and stops at the first that fails, because the next ones build on it."""
    for block in found:
        shell = block.language in ("bash", "sh", "console")
        if block.excuse or not (shell or block.language == "python"):
            continue
        for step in block.lines if shell else [block.text]:
            if excuse(step):
                continue
            problem = run_line(step, folder, monkeypatch, capsys) if shell else run_python(step, folder)
            if problem:
                return [f"{block.place}: {step}\n{problem}"]
    return []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


SERVER = "http://localhost:8000/v1"  # where the documents have a server; here it is a stub


@pytest.mark.torch
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_run(document, folder, monkeypatch, capsys):
    with StubServer(lambda request: chat("The object is a(n) star.")) as stub:
        text = document.read_text().replace(SERVER, stub.base_url)
        assert failures(blocks(text, document.name), folder, monkeypatch, capsys) == []
    assert bool(stub.requests) == (SERVER in document.read_text())


def unknown_words(line: str) -> list[str]:
    """Verbs and flags of a `keepsight` line that the command line does not have."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["keepsight"] or len(words) == 1 or words[1].startswith("-"):
        return []
    verb = cli.command_of(words[1]) if words[1] in cli.VERBS else None
    if hasattr(verb, "commands"):  # keepsight judge attack
        verb = verb.commands.get(words[2])
    if verb is None:
        return [words[1]]
    flags = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    given = [
        word.partition("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word[:2] == "--"
    ]
    return [flag for flag in given if flag not in flags]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_verbs_and_flags_exist_even_in_blocks_that_are_not_run(document):
    found = blocks(document.read_text(), document.name)
    lines = [
        (block.place, line)
        for block in found
        if block.language in ("bash", "sh", "console")
        for line in block.lines
    ]
    assert [(place, unknown) for place, line in lines if (unknown := unknown_words(line))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_workflows_are_yaml_and_their_commands_exist(document):
    found = [block for block in blocks(document.read_text(), document.name) if block.language == "yaml"]
    for workflow in (yaml.safe_load(block.text) for block in found):
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
        told = [line.partition(" >>")[0] for line in lines if line.startswith("keepsight ")]
        assert told and [unknown for line in told if (unknown := unknown_words(line))] == []


EXAMPLE = """
```bash
make demo            # heavy by name
keepsight ls envs    # runs
keepsight ls tasks \\
  --json
echo made > file.txt && test -s file.txt
```
<!-- not run: needs your own model -->

```bash
keepsight audit hf:x y --tasks a
```
1. item

   ```python
   from pathlib import Path
   assert Path("file.txt").exists()
   ```
```bash
# not run: needs a graphics card
nvidia-smi
```
```text
nonsense
```
"""


def test_blocks_are_found():
    found = blocks(EXAMPLE, "x.md")
    assert [(block.place, block.language, block.excuse) for block in found] == [
        ("x.md:2", "bash", ""),
        ("x.md:11", "bash", "needs your own model"),
        ("x.md:16", "python", ""),
        ("x.md:20", "bash", "needs a graphics card"),
        ("x.md:24", "text", ""),
    ]
    assert found[0].lines[2] == "keepsight ls tasks    --json" and len(found[0].lines) == 4
    assert found[2].text.startswith("from pathlib")


def test_a_variable_before_a_command_holds_for_it_alone(monkeypatch, capsys, tmp_path):
    seen = []
    monkeypatch.setattr(cli, "main", lambda: seen.append((sys.argv, os.environ.get("KEEPSIGHT_X"))))
    for line in ("KEEPSIGHT_X=7 keepsight ls tasks", "keepsight ls envs"):
        assert run_line(line, tmp_path, monkeypatch, capsys) == ""
    assert seen == [(["keepsight", "ls", "tasks"], "7"), (["keepsight", "ls", "envs"], None)]


def test_what_runs_runs_in_one_folder(folder, monkeypatch, capsys):
    assert failures(blocks(EXAMPLE, "x.md"), folder, monkeypatch, capsys) == []
    assert (folder / "file.txt").read_text() == "made\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("```bash\nkeepsight ls spoons\n```", "x.md:1: keepsight ls spoons"),
        ("```bash\nkeepsight report nowhere\n```", "x.md:1: keepsight report nowhere"),
        (
            "```bash\nKEEPSIGHT_MAX_FILE=1 keepsight ls spoons\n```",
            "x.md:1: KEEPSIGHT_MAX_FILE=1 keepsight ls spoons",
        ),
        ("```bash\nfalse\ntouch never\n```", "x.md:1: false"),
        ("```python\n1 / 0\n```", "x.md:1: 1 / 0"),
        ("text\n\n```sh\nls no-such-file\n```", "x.md:3: ls no-such-file"),
    ],
)
def test_a_broken_command_is_named(text, place, folder, monkeypatch, capsys):
    (found,) = failures(blocks(text, "x.md"), folder, monkeypatch, capsys)
    assert found.startswith(place) and len(found) > len(place) + 2 and not (folder / "never").exists()


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("keepsight audit tiny x --tasks a --output-path out", []),
        ("keepsight audit tiny x --task a", ["--task"]),
        ("keepsight audits tiny", ["audits"]),
        ("keepsight tune tiny --data x --num_train_epochs=3 --no_bf16", []),
        ("keepsight --help", []),
        ("ls --all", []),
    ],
)
def test_unknown_verbs_and_flags_are_named(line, unknown):
    assert unknown_words(line) == unknown
