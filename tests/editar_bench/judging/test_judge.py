"""A judgement from end to end, against an endpoint on this machine."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from editar_bench.errors import UserError
from editar_bench.judging import driver
from editar_bench.judging import endpoint as calls
from editar_bench.judging.driver import judge as run_judge
from editar_bench.judging.endpoint import Endpoint
from editar_bench.judging.forms import FORMS, QUALITY, SEMANTICS
from editar_bench.judging.work import Job
from editar_bench.pictures import picture_path, write_picture
from editar_bench.progress import Silent
from editar_bench.store import Aggregate, Reader, RunRecord, Store, now, output_id, write_part
from tests.editar_bench.calling import call
from tests.editar_bench.judging.fake_judge import FakeJudge, scores, serve

MODELS = ("editar", "ip2p:guidance=2,steps=5")
KINDS = ("add object", "add object", "change color", "change color")


def picture(out: Path, seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    name = write_picture(out / "pictures", pixels)
    return picture_path(out / "pictures", name).relative_to(out).as_posix()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Four edits of two models, as runs leave them."""
    folder = tmp_path / "results"
    with Store.open(folder) as store:
        run_id = store.begin_run(RunRecord(suite="paper", dataset="d", spec={}, provenance={}))
        for i, kind in enumerate(KINDS):
            base = {
                "task": "edit",
                "dataset": "d",
                "dataset_fingerprint": "f",
                "sample_id": f"s{i}",
            }
            sample = {
                "suite": "paper",
                "position": i,
                "prompt": f"edit number {i}",
                "category": kind,
            }
            pictures = {"condition_path": picture(folder, i), "slices": []}
            write_part(folder, "sample", [base | sample | pictures])
            for j, model in enumerate(MODELS):
                key = output_id(f"key{j}", "edit", "d", "f", f"s{i}", 0, 1, "h")
                row = {"output_id": key, "model": model, "model_key": f"key{j}", "kind": "measured"}
                path = picture(folder, 10 + 10 * j + i)
                row |= {"repeat": 0, "seed": 1, "status": "ok", "path": path, "created_at": now()}
                write_part(folder, "output", [base | row | {"suite": "paper", "run_id": run_id}])
        store.finish_run(run_id, "finished", "")
    return folder


def job(form: str = "viescore", models: tuple[str, ...] = MODELS, **more: Any) -> Job:
    return Job(dataset="d", models=models, form=FORMS[form], judge="judge", **more)


def judged(out: Path, server: FakeJudge, what: Job) -> Any:
    asked = Endpoint(server.url, "judge", "secret", sleep=lambda seconds: None)
    return run_judge(out, what, asked, Silent())


def marks(text: str, pictures: list[bytes]) -> tuple[int, str]:
    """Quality 9 and 4; semantics by the number of the edit."""
    if len(pictures) == 1:
        return 200, scores(9, 4)
    number = int(text.partition("edit number ")[2][0])
    return 200, scores(number, 9)


def replies(out: Path) -> list[dict[str, Any]]:
    frame = Reader(out).frame("SELECT * FROM judge_reply ORDER BY ALL")
    return frame.to_dict("records")  # type: ignore[return-value]


def test_values_intervals_and_everything_that_was_said_are_stored(out: Path) -> None:
    with serve(FakeJudge(marks)) as server:
        verdict = judged(out, server, job())
    assert len(server.requests) == 2 * 4 * 2 and not verdict.failed
    assert {request["path"] for request in server.requests} == {"/v1/chat/completions"}
    assert server.headers[0]["Authorization"] == "Bearer secret"
    rows = Reader(out).details()
    rows = rows[(rows["slice"] == "") & (rows["model"] == "editar")].set_index("metric")
    assert rows.loc["viescore_semantics", "value"] == pytest.approx((0 + 1 + 2 + 3) / 4)
    assert rows.loc["viescore_quality", "value"] == 4
    roots = [(n * 4) ** 0.5 for n in range(4)]
    assert rows.loc["viescore_overall", "value"] == pytest.approx(sum(roots) / 4)
    assert rows.loc["viescore_overall", "ci_low"] < sum(roots) / 4
    protocol = FORMS["viescore"].protocol("judge-2025-01-01")
    assert set(rows["protocol"]) == {protocol} and set(rows["n"]) == {4}
    said = replies(out)
    assert len(said) == 16 and {r["snapshot"] for r in said} == {"judge-2025-01-01"}
    assert {r["prompt_hash"] for r in said} == {SEMANTICS.hash, QUALITY.hash}
    assert json.loads(said[0]["raw"])["usage"]["prompt_tokens"] == said[0]["prompt_tokens"] == 700
    record = Reader(out).run_record(verdict.run_id)
    assert record["spec"]["questions"]["quality"]["text"] == QUALITY.text
    assert "secret" not in json.dumps(record, default=str)
    slices = Reader(out).slices(model="editar", metric="viescore_semantics").set_index("slice")
    assert slices.loc["add object", "value"] == 0.5


def test_pictures_go_out_in_the_order_of_the_question(out: Path) -> None:
    seen: list[tuple[str, list[bytes]]] = []
    lock = threading.Lock()

    def note(text: str, pictures: list[bytes]) -> tuple[int, str]:
        with lock:
            seen.append((text, pictures))
        return marks(text, pictures)

    with serve(FakeJudge(note)) as server:
        judged(out, server, job(models=("editar",), limit=1))
    assert sorted(len(pictures) for _, pictures in seen) == [1, 2]
    (two,) = [pictures for _, pictures in seen if len(pictures) == 2]
    assert two == [(out / picture(out, 0)).read_bytes(), (out / picture(out, 10)).read_bytes()]


def test_no_file_from_elsewhere_is_sent(out: Path) -> None:
    (out.parent / "secret").write_bytes(b"private")
    sample = {"task": "edit", "dataset": "d", "dataset_fingerprint": "f", "sample_id": "s0"}
    more = {"suite": "paper", "position": 0, "prompt": "edit number 0", "category": KINDS[0]}
    write_part(out, "sample", [sample | more | {"condition_path": "../secret", "slices": []}])
    with (
        serve(FakeJudge(marks)) as server,
        pytest.raises(UserError, match="'../secret' .* none of its own"),
    ):
        judged(out, server, job(models=("editar",), limit=1))
    assert base64.b64encode(b"private").decode() not in json.dumps(server.requests)


def test_gedit_is_the_mean_of_groups_and_shares_the_answers(out: Path) -> None:
    def uneven(text: str, pictures: list[bytes]) -> tuple[int, str]:
        return 200, scores(9, 9) if len(pictures) == 1 or "number 3" not in text else scores(1, 1)

    with serve(FakeJudge(uneven)) as server:
        judged(out, server, job(models=("editar",)))
        asked = len(server.requests)
        verdict = judged(out, server, job("gedit", models=("editar",)))
        assert len(server.requests) == asked  # the same sentences about the same pictures
    (whole,) = [r for r in verdict.aggregates if r.metric == "gedit_semantics" and not r.slice]
    assert whole.value == pytest.approx((9 + 5) / 2) and whole.n == 4


def test_failed_calls_are_a_state_and_never_zero_and_are_asked_again(out: Path) -> None:
    broken = True

    def moody(text: str, pictures: list[bytes]) -> tuple[int, Any]:
        if broken and "number 1" in text:
            return 400, {"error": {"message": "content filter"}}
        if broken and "number 2" in text:
            return 200, "I would rather not."
        return 200, scores(8, 8)

    with serve(FakeJudge(moody)) as server:
        verdict = judged(out, server, job(models=("editar",)))
        assert verdict.failed == 2
        details = Reader(out).details(model="editar", metric="viescore_overall")
        (row,) = details[details["slice"] == ""].to_dict("records")
        assert (row["value"], row["n"], row["n_expected"], row["status"]) == (8, 2, 4, "partial")
        assert row["reason"].startswith("2 calls failed, first: ")
        bad = {r["reason"] for r in replies(out) if r["status"] == "failed"}
        assert len(bad) == 2 and any("content filter" in reason for reason in bad)
        assert any(r["reply"] == "I would rather not." for r in replies(out))
        broken, before = False, len(server.requests)
        verdict = judged(out, server, job(models=("editar",)))
        assert len(server.requests) - before == 2 and not verdict.failed
    details = Reader(out).details(model="editar", metric="viescore_overall")
    assert list(details[details["slice"] == ""]["n"]) == [4]


def test_slices_that_lack_judged_samples_are_partial_with_the_reason(out: Path) -> None:
    def moody(text: str, pictures: list[bytes]) -> tuple[int, Any]:
        return (400, {}) if "number 1" in text else (200, scores(8, 8))

    with serve(FakeJudge(moody)) as server:
        judged(out, server, job(models=("editar",)))
    slices = Reader(out).slices(model="editar", metric="viescore_overall").set_index("slice")
    found = slices.loc["add object", ["n", "n_expected", "status"]]
    assert found.tolist() == [1, 2, "partial"]
    assert slices.loc["add object", "reason"].startswith("1 calls failed, first: ")
    assert slices.loc["change color", "status"] == "ok"


def test_slices_are_as_long_as_runs_recorded_them(out: Path) -> None:
    with Store.open(out) as store:
        run_id = store.begin_run(RunRecord(suite="paper", dataset="d", spec={}, provenance={}))
        row = Aggregate(
            run_id=run_id,
            suite="paper",
            task="edit",
            dataset="d",
            model="editar",
            metric="psnr",
            protocol="p",
            version=1,
            model_key="key0",
            kind="measured",
            higher_is_better=True,
            n_expected=700,
        )
        store.write_aggregates([row, replace(row, slice="add object", n_expected=80)])
        store.finish_run(run_id)
    with serve(FakeJudge(marks)) as server:
        judged(out, server, job(models=("editar",), limit=1))
    rows = Reader(out).details(model="editar", metric="viescore_overall").set_index("slice")
    assert rows["n_expected"].to_dict() == {"": 700, "add object": 80}
    assert set(rows["status"]) == {"partial"}


def test_two_snapshots_are_two_protocols(out: Path) -> None:
    server = FakeJudge(lambda text, pictures: (200, scores(8, 8)))
    with serve(server):
        judged(out, server, job(models=("editar",), limit=2))
        server.snapshot = "judge-2025-06-30"
        verdict = judged(out, server, job(models=("editar",)))
    counts = {
        r.protocol: r.n
        for r in verdict.aggregates
        if r.metric == "viescore_overall" and not r.slice
    }
    form = FORMS["viescore"]
    assert counts == {form.protocol("judge-2025-01-01"): 2, form.protocol("judge-2025-06-30"): 2}


def test_repeats_are_averaged_before_the_mean(out: Path) -> None:
    counter = iter(range(100))
    lock = threading.Lock()

    def alternating(text: str, pictures: list[bytes]) -> tuple[int, str]:
        with lock:
            return 200, scores(*([1 + next(counter) % 2 * 4] * 3))

    with serve(FakeJudge(alternating)) as server:
        verdict = judged(out, server, job("imgedit", models=("editar",), limit=1, repeats=2))
    assert len(server.requests) == 2
    (whole,) = [r for r in verdict.aggregates if not r.slice]
    assert (whole.value, whole.n) == (3, 1)


# --- the endpoint ---


def test_a_busy_endpoint_is_asked_again_and_a_refusing_one_is_not() -> None:
    answers = iter([(429, {}), (503, {}), (200, scores(1, 2))])
    with serve(FakeJudge(lambda text, pictures: next(answers))) as server:
        waits: list[float] = []
        reply = Endpoint(server.url, "m", sleep=waits.append).ask("s", "t", [b"png"])
        assert reply.text == scores(1, 2) and waits == [0.0, 4.0]
    with serve(FakeJudge(lambda text, pictures: (401, {"error": "no key"}))) as server:
        reply = Endpoint(server.url, "m").ask("s", "t", [])
        assert "401" in reply.reason and "no key" in reply.raw and len(server.requests) == 1


def test_an_endpoint_that_stays_busy_or_away_is_a_failed_call() -> None:
    with serve(FakeJudge(lambda text, pictures: (500, {}))) as server:
        reply = Endpoint(server.url, "m", sleep=lambda seconds: None).ask("s", "t", [])
        assert len(server.requests) == calls.TRIES and not reply.text and "500" in reply.reason
    reply = Endpoint("http://127.0.0.1:9", "m", sleep=lambda seconds: None).ask("s", "t", [])
    assert "cannot be reached" in reply.reason and not reply.text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("<html>", "no chat completion"),
        ('{"choices": []}', "no chat completion"),
        (
            '{"choices": [{"message": {"content": null, "refusal": "no faces"}}]}',
            "refused: no faces",
        ),
        ('{"choices": [{"message": {"content": ""}}]}', "refused: empty"),
        ('{"choices": {"0": 1}}', "no chat completion"),
        ('{"choices": [{"message": {"content": "x"}}], "usage": [1]}', "no chat completion"),
        ("[" * 100_000, "no chat completion"),
    ],
)
def test_answers_without_a_text_are_failed_calls(raw: str, words: str) -> None:
    reply = calls.read_answer(raw)
    assert not reply.text and words in reply.reason and reply.raw == raw


def test_a_hostile_answer_is_cut_cleaned_and_stored(out: Path) -> None:
    odd = json.loads('"\\ud83d {\\"scores\\": [7, 7]} \\u0000"')
    hostile = FakeJudge(lambda text, pictures: (200, odd))
    hostile.snapshot = "judge\n\x1b[31m" + "x" * 1000
    with serve(hostile) as server:
        hostile_usage = {"prompt_tokens": 10**30, "completion_tokens": -1}
        completion = server.completion
        server.completion = lambda text: completion(text) | {"usage": hostile_usage}  # type: ignore[method-assign]
        verdict = judged(out, server, job(models=("editar",), limit=1))
    assert not verdict.failed
    (said, _) = replies(out)
    assert said["snapshot"] == "judge___31m" + "x" * 69
    assert pd.isna(said["prompt_tokens"]) and pd.isna(said["completion_tokens"])


def test_a_broken_or_endless_answer_is_a_failed_call() -> None:
    def endless(text: str, pictures: list[bytes]) -> tuple[int, Any]:
        return 200, {"choices": [{"message": {"content": "x" * 2**21}}]}

    with serve(FakeJudge(endless)) as server:
        reply = Endpoint(server.url, "m").ask("s", "t", [])
        assert "no chat completion" in reply.reason and len(reply.raw) == 2**20
    reply = calls.read_answer('{"choices": [{"message": {"refusal": "\\u001b[2J no"}}]}')
    assert reply.reason == "refused: [2J no"


def test_the_key_follows_no_redirect() -> None:
    with (
        serve(FakeJudge(lambda text, pictures: (200, scores(1, 1)))) as elsewhere,
        serve(FakeJudge(lambda text, pictures: (302, {}))) as server,
    ):
        server.location = f"{elsewhere.url}/chat/completions"
        reply = Endpoint(server.url, "m", "secret").ask("s", "t", [])
        assert "302" in reply.reason and not elsewhere.headers


@pytest.mark.parametrize(("header", "wait"), [("nan", 1), ("inf", 120), ("-5", 0), ("x", 1)])
def test_waits_are_bounded(header: str, wait: float) -> None:
    assert calls._retry_after(header, 1.0) == wait


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "api.openai.com/v1",
        "",
        "http://",
        "http://[::1",
        "http://host:99999/v1",
        "http://a..b/v1",
        "http://host/a b",
        "http://host/\u00e4",
    ],
)
def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(UserError, match="--endpoint is"):
        Endpoint(url, "m")


@pytest.mark.parametrize("url", ["https://me:secret@host/v1", "https://host/v1?key=secret"])
def test_keys_in_addresses_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        Endpoint(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["top\nsecret", "top\rsecret", "top\0secret", "top\u2028secret"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        Endpoint("https://host/v1", "m", key)
    assert "secret" not in str(caught.value)


def test_space_around_a_key_does_not_count() -> None:
    assert Endpoint("https://host/v1", "m", " secret\r\n").key == "secret"


def test_an_endpoint_that_answers_nothing_is_asked_no_further(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_CHUNK", 3)
    with serve(FakeJudge(lambda text, pictures: (401, {"error": "no key"}))) as server:
        verdict = judged(out, server, job(models=("editar",)))
        assert len(server.requests) == verdict.failed == 3 and verdict.unsent == 5
        assert verdict.note.endswith("; 5 more were not sent")


def test_what_was_answered_before_an_interruption_is_kept(out: Path) -> None:
    lock = threading.Lock()
    asked: list[str] = []

    class Interrupted(Endpoint):
        def ask(self, system: str, text: str, pictures: Any) -> Any:
            with lock:
                asked.append(text)
                if len(asked) == 5:
                    raise KeyboardInterrupt
            return super().ask(system, text, pictures)

    with serve(FakeJudge(marks)) as server:
        with pytest.raises(KeyboardInterrupt):
            run_judge(out, job(models=("editar",)), Interrupted(server.url, "judge"), Silent())
        before = len(server.requests)
        assert before == 7
        verdict = judged(out, server, job(models=("editar",)))
        assert len(server.requests) == 8 and not verdict.failed  # the one that had no answer


# --- the command ---


def test_the_command_says_the_price_first_and_sends_nothing_without_yes(out: Path) -> None:
    command = ("judge", "--model", ",".join(MODELS), "--judge", "judge", "--dataset", "d")
    with serve(FakeJudge(marks)) as server:
        where = ("--endpoint", server.url, "--out", str(out))
        price = ("--price-in", "2.5", "--price-out", "10")
        code, text, _ = call(*command, *where, *price)
        assert code == 0 and not server.requests
        assert "8 pictures, 16 calls of judge are open: about" in text
        assert "dollars (an estimate)" in text and "Nothing was sent" in text
        code, text, _ = call(*command, *where, "--yes")
        assert code == 0 and len(server.requests) == 16
        assert "ip2p:guidance=2,steps=5  viescore_quality  4 [4, 4]  n 4/4" in text
        assert "0 calls of judge are open" in call(*command, *where)[1]


def test_the_command_fails_when_calls_fail(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_WAITS", (0.0,))
    with serve(FakeJudge(lambda text, pictures: (500, {}))) as server:
        command = ("judge", "--model", "editar", "--judge", "j", "--dataset", "d", "--yes")
        code, text, err = call(*command, "--endpoint", server.url, "--out", str(out))
    assert code == 1 and "8 calls failed, first: the endpoint answered 500" in err
    assert Reader(out).details(model="editar").empty  # no score, and no zero


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nobody"), "no edited pictures of 'nobody' on d; there are: editar"),
        (("--model", "editar", "--form", "viescor"), "did you mean viescore?"),
        (("--model", "editar", "--limit", "0"), "--limit is 0"),
        (("--model", ","), "--model is empty"),
        (("--model", "editar", "--judge", " "), "--judge is ' '"),
        (("--model", "editar", "--price-in", "inf"), "--price-in is inf"),
    ],
)
def test_mistakes_are_one_sentence(out: Path, arguments: tuple[str, ...], words: str) -> None:
    code, text, err = call("judge", "--judge", "j", "--dataset", "d", "--out", str(out), *arguments)
    assert code == 2 and words in err and not text
