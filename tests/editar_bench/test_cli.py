"""The command line: exit codes, sentences, what is imported, what is printed."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from editar_bench import provenance, registry
from editar_bench.cli import Checked, app
from editar_bench.errors import UserError
from tests.editar_bench import dummies as d
from tests.editar_bench.calling import RUN, call

HEAVY = ("torch", "pandas", "duckdb", "numpy", "pyarrow", "transformers", "rich", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, editar_bench.cli as c\n"
        "sys.argv = ['editar-bench', '--help']\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in answer.stdout
    assert "editar-bench run --task all --limit 24" in answer.stdout


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "ls",
        "prepare",
        "score",
        "judge",
        "overlap",
        "compare",
        "report",
        "leaderboard",
        "doctor",
    ],
)
def test_every_command_teaches(command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"editar-bench {command}" in out


def test_commands_refuse_foreign_rooms_and_their_help_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def foreign() -> None:
        raise UserError("'models' is imported from elsewhere")

    monkeypatch.setattr(provenance, "check_rooms", foreign)
    code, text, err = call("ls", "tasks")
    assert code == 2 and "imported from elsewhere" in err and not text
    assert call("ls", "--help")[0] == 0
    # `doctor` says it among other things.
    assert {c.name for c in app.registered_commands if c.cls is not Checked} == {"doctor"}


def test_the_pages_are_for_this_machine_unless_a_host_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    for more in ((), ("--host", "0.0.0.0")):
        assert call("leaderboard", "--out", str(tmp_path), *more)[0] == 0
    addresses = [command[command.index("--server.address") + 1] for command in commands]
    assert addresses == ["localhost", "0.0.0.0"]
    assert all(("--client.toolbarMode", "viewer") in pairwise(command) for command in commands)


def test_version() -> None:
    assert call("--version")[1].startswith("editar-bench ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--task", "depht"), "no task 'depht'; did you mean depth?"),
        (("run", "--model", "orcale"), "no model 'orcale'; did you mean oracle"),
        (("run", "--dataset", "scene"), "no data set 'scene'; did you mean scenes?"),
        (("run", "--suite", "papers"), "no suite 'papers'"),
        (("run", "--engine", "spark"), "no engine 'spark'; known are: local, ray."),
        (("run", "--engine", "ray", "--device", "cuda:1"), "write --device cuda."),
        (("run", "--batch-size", "0"), "--batch-size is '0'"),
        (("run", "--batch-size", "9" * 5000), "--batch-size is '999999999…'"),
        (("run", "--model", "all,oracle"), "--model is 'all,oracle'; 'all' stands alone"),
        (("run", "--out", ""), "--out is empty; name a folder"),
        (("ls", "runs", "--out", __file__), "which is a file; choose another folder"),
        (("ls", "runs", "--out", "o o"), "run --task all --out 'o o'`."),
        (("run", "--out", "q?x"), "it must be a local folder"),
        (("report", "--out", "bad\udcff"), "--out is 'bad\\udcff'; it must be a local folder"),
        (("run", "--out", "memory://x"), "it must be a local folder"),
        (("ls", "runs", "--out", "s3://bucket/x"), "it must be a local folder"),
        (("doctor", "--out", "o" * 300), "which cannot be opened (File name too long)"),
        (("prepare", "--from-images", "o" * 300), "a name is too long for this machine (ooo"),
        (("ls", "modls"), "did you mean models?"),
        (("report", "--format", "markdwn"), "did you mean markdown?"),
        (("score", "--images", ".", "--task", "all", "--name", "x"), "belongs to one task"),
        (("score", "--images", ".", "--task", "edit", "--name", "oracle"), "registered model"),
        (("score", "--images", ".", "--task", "edit", "--name", "codec:a=1"), "registered model"),
        (("score", "--images", ".", "--task", "edit", "--name", " "), "--name is ' '; write"),
        (
            ("score", "--images", ".", "--task", "edit", "--name", "a\nb"),
            "--name is 'a\\nb'; write",
        ),
    ],
)
def test_mistakes_are_one_sentence_with_near_matches(
    arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = call(*arguments)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1 and not out


def test_an_engine_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editar_bench.engines.find_spec", lambda name: None)
    code, out, err = call("run", "--engine", "ray")
    assert (code, out) == (2, "")
    assert "`pip install 'editar-bench[ray]'`" in err and len(err.strip().splitlines()) == 1


def test_run_prints_a_table_with_intervals_and_gap(dummies: None, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, text, _ = call(*RUN, "--model", "noisy,codec,shuffled,only-edit", "--out", out)
    assert code == 0
    assert "dummy_error ↓ (levels)" in text and "dummy_brightness ↑" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("noisy"))
    assert "10/10" in row and "gap 0." in row
    assert "[" in text and "unsupported" in text
    code, listing, _ = call("ls", "runs", "--out", out)
    assert code == 0 and "finished" in listing


def test_a_run_that_goes_on_has_no_end_and_times_no_microseconds(tmp_path: Path) -> None:
    from editar_bench.store import RunRecord, Store

    record = RunRecord(suite="scenes", dataset="scenes", spec={}, provenance={})
    with Store.open(tmp_path) as store:
        first = store.begin_run(record)
        store.finish_run(first)
        store.begin_run(record)
        store.publish()
        code, listing, _ = call("ls", "runs", "--out", str(tmp_path))
    assert code == 0 and "NaT" not in listing
    _, running, finished = listing.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rf"running +{time}$", running)
    assert re.search(rf"finished +{time}  {time}$", finished)


def test_exit_code_1_when_something_failed(dummies: None, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, text, err = call(*RUN, "--model", "noisy,corrupt", "--out", out)
    assert code == 1
    assert "wrong checksum" in err and "noisy" in text


def test_without_a_model_missing_weights_are_left_out_with_a_note(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editar_bench import suites

    suite = suites.Suite(name="dummy", datasets=("dummy",), models=("noisy", "absent"), summary="")
    monkeypatch.setitem(suites.SUITES, "dummy", suite)
    code, text, err = call(*RUN, "--out", str(tmp_path / "out"))
    assert code == 0 and not err
    assert "absent is left out" in text and "absent.safetensors is not there" in text


def test_corrupt_weights_are_never_left_out_silently(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editar_bench import suites

    suite = suites.Suite(name="dummy", datasets=("dummy",), models=("noisy", "corrupt"), summary="")
    monkeypatch.setitem(suites.SUITES, "dummy", suite)
    code, text, err = call(*RUN, "--out", str(tmp_path / "out"))
    assert code == 1 and "wrong checksum" in err
    assert "10/10" in text


def test_a_full_disk_is_one_sentence(dummies: None, tmp_path: Path) -> None:
    code, _, err = call(*RUN, "--model", "full-disk", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "the disk is full (/cache/file)" in err and "kept" in err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("noisy:strenght=3", "no setting 'strenght'; did you mean strength?"),
        ("only-edit,refuses:strength=9", "'refuses:strength=9' refuses its settings: too strong."),
        ("refuses:strength=1e999", "refuses its settings: cannot convert float infinity"),
    ],
)
def test_mistyped_settings_stop_a_run_before_it_begins(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, words: str
) -> None:
    def refuses(*, strength: float) -> d.Base:
        raise ValueError("too strong" if int(strength) else "too weak")

    monkeypatch.setitem(registry.MODELS._entries, "refuses", registry.Entry(refuses))
    code, out, err = call(*RUN, "--model", model, "--out", str(tmp_path / "out"))
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1
    assert not out and not (tmp_path / "out").exists()


def test_a_model_that_needs_settings_is_a_failed_row_when_nobody_gave_any(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs(*, strength: int) -> d.Base:
        return d.Noisy(strength=strength)

    monkeypatch.setitem(registry.MODELS._entries, "needs", registry.Entry(needs))
    code, text, err = call(*RUN, "--model", "needs,noisy", "--out", str(tmp_path / "out"))
    assert code == 1 and "'needs' refuses its settings" in err and "10/10" in text


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "a folder cannot be written (/data/x)"),
        (errno.EACCES, "may not be used (/data/x)"),
        (errno.ENOTDIR, "a file is where a folder should be (/data/x)"),
    ],
)
def test_data_that_cannot_be_made_is_one_sentence(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(self: d.DummyTask) -> None:
        raise OSError(number, "refused", "/data/x")

    monkeypatch.setattr(d.DummyTask, "load", fail)
    code, _, err = call(*RUN, "--model", "noisy", "--out", str(tmp_path / "out"))
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1


def test_a_second_run_on_the_same_folder_is_refused(dummies: None, tmp_path: Path) -> None:
    from editar_bench.store import Store

    with Store.open(tmp_path / "out"):
        code, _, err = call(*RUN, "--model", "noisy", "--out", str(tmp_path / "out"))
    assert code == 2 and "another run" in err


def test_a_store_of_a_newer_version_is_refused(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    out = tmp_path / "out"
    assert call(*RUN, "--model", "noisy", "--out", str(out))[0] == 0
    with duckdb.connect(str(out / "results.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    for arguments in ((*RUN, "--model", "noisy"), ("report",)):
        code, _, err = call(*arguments, "--out", str(out))
        assert code == 2 and "newer editar-bench" in err


def test_ctrl_c_is_one_sentence_and_the_run_goes_on_later(
    plugin: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "editar_bench.cli", *RUN, "--model", "slow", "--out", str(out)]
    process = subprocess.Popen(
        command,
        env=plugin | {"DUMMY_SECONDS": "0.5"},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and so what they start, ignore Ctrl-C; a user's command does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = out / "parts" / "output"
    deadline = time.monotonic() + 60
    while not list(parts.glob("[0-9]*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("editar-bench: stopped")
    assert "Traceback" not in err
    assert (out / "results.duckdb").exists()  # what was done is published
    again = subprocess.run(command, env=plugin, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "calls.txt").read_text().splitlines()) in (5, 6)


@pytest.mark.parametrize("repeats", ["0", "1001", "9" * 20])
def test_numbers_of_repeats_that_no_run_could_make(
    dummies: None, tmp_path: Path, repeats: str
) -> None:
    command = (*RUN, "--model", "noisy", "--out", str(tmp_path / "out"), "--repeats", repeats)
    code, _, err = call(*command)
    assert code == 2 and f"--repeats is {repeats}; it must be from 1 to 1000." in err


def test_ls_models_imports_no_model() -> None:
    code = (
        "import sys, editar_bench.cli as c\n"
        "sys.argv = ['editar-bench', 'ls', 'models']\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', [m for m in ('torch', 'pandas', 'duckdb', 'numpy', 'models') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "editar-scenes" in answer.stdout and "HEAVY []" in answer.stdout


def test_plugins_are_listed_with_their_package(plugin: dict[str, str]) -> None:
    command = [sys.executable, "-m", "editar_bench.cli", "ls", "models"]
    text = subprocess.run(command, env=plugin, capture_output=True, text=True, check=True).stdout
    row = next(line for line in text.splitlines() if line.startswith("noisy"))
    assert "editar-bench-dummies" in row
