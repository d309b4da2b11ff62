"""The command line: light to import, one line on bad input, tracebacks for bugs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import whatelse
from whatelse import cli
from whatelse.cli import VERBS, main
from whatelse.errors import UserError


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    done = python("import sys, whatelse.cli; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "pandas", "numpy", "pydantic", "yaml", "matplotlib", "mlflow"}
    assert not heavy & set(done.stdout.split())


def test_importing_the_workflows_modules_imports_no_torch() -> None:
    """Snakemake resolves studies in every job: that must stay light."""
    done = python("import sys, whatelse.studies.resolve; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "pandas", "matplotlib", "mlflow", "sklearn", "scipy"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: whatelse {verb}")


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {verb}" in printed for verb in VERBS)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == whatelse.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trein"],
        ["train"],
        ["train", "--speck", "{}"],
        ["train", "--models", "3:3"],
    ],
)
def test_wrong_words_are_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: whatelse" in capsys.readouterr().err


class _Module:
    """A verb that fails."""

    __doc__ = "Fails."

    def __init__(self, error: Exception | None, code: int | None = None) -> None:
        self.error, self.code = error, code

    def add_arguments(self, parser: Any) -> None:
        pass

    def run(self, args: Any) -> int | None:
        if self.error:
            raise self.error
        return self.code


def failing(monkeypatch: pytest.MonkeyPatch, module: _Module) -> None:
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)


def test_bad_input_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    failing(monkeypatch, _Module(UserError("f.yaml: x:\n  is 3;\tallowed: 1..2")))
    monkeypatch.setenv(cli.ERRORS, str(tmp_path / "errors"))
    assert main(["show"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: f.yaml: x: is 3; allowed: 1..2\n"
    assert captured.out == ""
    assert main(["show"]) == 2
    collected = (tmp_path / "errors").read_text()
    assert collected == '["", "f.yaml: x: is 3; allowed: 1..2"]\n' * 2


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, _Module(KeyError("oops")))
    with pytest.raises(KeyError, match="oops"):
        main(["show"])


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, returned: int | None, code: int
) -> None:
    failing(monkeypatch, _Module(None, returned))
    assert main(["show"]) == code


def test_the_process_says_the_same(tmp_path: Path) -> None:
    """Through the real entry point: standard error holds one line, nothing else."""
    code = (
        "import sys; from whatelse.cli import entry;"
        f"sys.argv = ['whatelse', 'show', {str(tmp_path / 'none.yaml')!r}]; entry()"
    )
    done = python(code)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'none.yaml'}: no such study file\n"


@pytest.mark.parametrize("spec", ["", "nonsense", "[]", '{"kind": "top"}'])
def test_a_spec_that_is_none(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", "d", "--block", "b", "--out", str(tmp_path / "o")]
    assert main(["query", "--spec", spec, *where]) == 2
    assert capsys.readouterr().err.startswith("error: --spec: ")
    assert not (tmp_path / "o").exists()
