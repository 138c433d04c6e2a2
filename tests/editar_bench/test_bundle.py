"""Offline bundles: what goes in comes out elsewhere, and nothing hostile or damaged does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from editar_bench.bundle import unpack_bundle, write_bundle
from editar_bench.errors import UserError
from editar_bench.suites import SUITES, Suite
from tests.data_prep.making import pie_archive, pie_item
from tests.editar_bench.calling import call

FILES = {"data/depth/test.parquet": b"rows", "data/depth/test.version": b"1", "weights/a.st": b"w"}


def places(root: Path) -> dict[str, Path]:
    return {"data": root / "data" / "scenes", "weights": root / "package" / "weights"}


def target(root: Path, name: str) -> Path:
    place, _, relative = name.partition("/")
    return places(root)[place] / relative


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A machine that has everything."""
    root = tmp_path / "here"
    for name, content in FILES.items():
        target(root, name).parent.mkdir(parents=True, exist_ok=True)
        target(root, name).write_bytes(content)
    (places(root)["weights"] / ".aside").write_bytes(b"half a file")
    (places(root)["weights"] / "link").symlink_to("/etc/hostname")
    return root


@pytest.fixture
def bundle(here: Path, tmp_path: Path) -> Path:
    path = tmp_path / "scenes.tar"
    assert write_bundle(path, "scenes", places(here)) == len(FILES)
    return path


def forge(path: Path, files: Mapping[str, bytes], sums: Mapping[str, str] | None = None) -> None:
    """A bundle by hand, with honest checksums unless others are given."""
    honest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    index = json.dumps({"suite": "scenes", "sha256": honest if sums is None else sums}).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in {"bundle.json": index, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def files_under(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir()] if root.exists() else []


def test_what_goes_in_comes_out_on_another_machine(bundle: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert unpack_bundle(bundle, "scenes", places(there)) == len(FILES)
    assert {name: target(there, name).read_bytes() for name in FILES} == FILES
    assert len(files_under(there)) == len(FILES)  # no hidden file, no link, nothing left aside
    assert unpack_bundle(bundle, "scenes", places(there)) == 0  # safe to repeat


def test_equal_files_make_equal_bundles(here: Path, bundle: Path, tmp_path: Path) -> None:
    os.utime(target(here, "weights/a.st"), (1, 1))
    write_bundle(tmp_path / "again.tar", "scenes", places(here))
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "data/../../evil",
        "/etc/evil",
        "data//etc/evil",
        "elsewhere/evil",
        "evil",
        "data/",
        "../evil",
        "data/.",
        "data/./depth/test.parquet",
        "data/depth//evil",
        "data/evil/",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    forge(tmp_path / "b.tar", {**FILES, name: b"evil"})
    with pytest.raises(UserError, match=r"no place of this suite|not in its list"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


def test_links_and_sparse_files_are_refused(tmp_path: Path) -> None:
    link, swelling = tarfile.TarInfo("data/link"), tarfile.TarInfo("data/swelling")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    swelling.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(10**12)}
    for member in (link, swelling):
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
        forge(tmp_path / "b.tar", FILES, sums | {member.name: hashlib.sha256(b"").hexdigest()})
        with tarfile.open(tmp_path / "b.tar", "a") as tar:
            tar.addfile(member)
        with pytest.raises(UserError, match=f"holds '{member.name}', which is not in its list"):
            unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


def test_a_file_inside_of_a_file_is_refused(tmp_path: Path) -> None:
    forge(tmp_path / "b.tar", {**FILES, "data/depth/test.parquet/more": b"x"})
    with pytest.raises(UserError, match="inside of another file"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


@pytest.mark.parametrize("size", [-512, -(10**9)])
def test_negative_sizes_end_at_once(bundle: Path, tmp_path: Path, size: int) -> None:
    data = bytearray(bundle.read_bytes())
    start = data.rindex(b"data/depth/test.version")
    data[start + 124 : start + 136] = size.to_bytes(12, "big", signed=True)  # base 256
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    bundle.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be read as a bundle|lacks"):
        unpack_bundle(bundle, "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


@pytest.mark.parametrize("key", ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"])
def test_headers_that_are_no_numbers_are_one_sentence(key: str, tmp_path: Path) -> None:
    forge(tmp_path / "b.tar", FILES)
    member = tarfile.TarInfo("data/x")
    member.pax_headers = {key: "abc"}
    with tarfile.open(tmp_path / "b.tar", "a") as tar:
        tar.addfile(member)
    with pytest.raises(UserError, match=r"cannot be read as a bundle|not in its list"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


def test_one_damaged_file_and_nothing_is_written(bundle: Path, tmp_path: Path) -> None:
    bundle.write_bytes(bundle.read_bytes().replace(b"rows", b"rowz"))
    with pytest.raises(UserError, match=r"data/depth/test\.parquet in .* is damaged; copy"):
        unpack_bundle(bundle, "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


@pytest.mark.parametrize("length", [100, 600, 1500, 1540, 2600, 3700])
def test_half_copied_bundles_are_one_sentence(bundle: Path, tmp_path: Path, length: int) -> None:
    bundle.write_bytes(bundle.read_bytes()[:length])
    with pytest.raises(UserError, match=r"copy it again|copy the bundle again"):
        unpack_bundle(bundle, "scenes", places(tmp_path / "there"))
    assert not files_under(tmp_path / "there")


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 10240])
def test_what_is_no_bundle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a bundle|no bundle of editar-bench"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))


def test_a_missing_file_another_suite_and_a_strange_list(bundle: Path, tmp_path: Path) -> None:
    there = places(tmp_path / "there")
    with pytest.raises(UserError, match="There is no bundle"):
        unpack_bundle(tmp_path / "nowhere.tar", "scenes", there)
    with pytest.raises(UserError, match="made for the suite 'scenes', not 'paper'"):
        unpack_bundle(bundle, "paper", there)
    forge(tmp_path / "b.tar", {}, {"data/x": "00"})
    with pytest.raises(UserError, match="lacks data/x"):
        unpack_bundle(tmp_path / "b.tar", "scenes", there)


def test_a_list_without_an_end_is_one_sentence(tmp_path: Path) -> None:
    deep = b"[" * 10**6
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        member = tarfile.TarInfo("bundle.json")
        member.size = len(deep)
        tar.addfile(member, io.BytesIO(deep))
    with pytest.raises(UserError, match="bundle.json of .* cannot be read"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))


def test_names_without_an_end_are_one_sentence(bundle: Path, tmp_path: Path) -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1
    header = name.tobuf(format=tarfile.GNU_FORMAT) + bytes(tarfile.BLOCKSIZE)
    index = bundle.read_bytes()[: 2 * tarfile.BLOCKSIZE]  # the list, of less than a block
    (tmp_path / "b.tar").write_bytes(index + header * 2000)
    with pytest.raises(UserError, match="cannot be read as a bundle"):
        unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))


def test_what_cannot_be_a_file_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", ".", "b" * 300):
        with pytest.raises(UserError, match=r"There is no bundle|cannot be opened"):
            unpack_bundle(tmp_path / name, "scenes", places(tmp_path / "there"))


def test_another_file_in_the_place_is_never_replaced(bundle: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    mine = target(there, "weights/a.st")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"trained by me")
    with pytest.raises(UserError, match=r"a\.st is already there and differs .* move it away"):
        unpack_bundle(bundle, "scenes", places(there))
    assert files_under(there) == [mine] and mine.read_bytes() == b"trained by me"


def test_a_folder_that_cannot_be_written(here: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot write"):
        unpack_bundle(bundle, "scenes", places(tmp_path / "there"))
    with pytest.raises(UserError, match="cannot write"):
        write_bundle(tmp_path / "there" / "b.tar", "scenes", places(here))


def test_the_command_writes_and_reads_bundles(
    dummies: None, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suite(root: Path) -> Suite:
        found = Suite(name="dummy", datasets=("dummy",), models=("noisy",), summary="")
        monkeypatch.setattr(Suite, "places", lambda self: places(root))
        return found

    monkeypatch.setitem(SUITES, "dummy", suite(here))
    path = str(tmp_path / "dummy.tar")
    code, text, _ = call("prepare", "--suite", "dummy", "--bundle", path)
    assert code == 0 and f"{path}: 3 file(s)" in text
    monkeypatch.setitem(SUITES, "dummy", suite(tmp_path / "there"))
    code, text, _ = call("prepare", "--suite", "dummy", "--from", path)
    assert code == 0 and "verified, 3 file(s) new" in text
    assert target(tmp_path / "there", "weights/a.st").read_bytes() == b"w"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bundle", "."), "not a file name"),
        (("--bundle", "/"), "not a file name"),
        (("--bundle", ".."), "not a file name"),
        (("--bundle", "b.tar", "--model", "noisy"), "leave --bundle for another command"),
        (("--bundle", "b.tar", "--dataset", "pipe-train"), "--dataset pipe-train is a job of its"),
        (("--from-images", ".", "--suite", "nope"), "leave --suite for another command"),
        (("--from-images", ".", "--model", "noisy", "--from", "b"), "leave --model and --from"),
    ],
)
def test_bundles_that_cannot_be_written_are_refused_before_any_work(
    dummies: None, options: tuple[str, ...], words: str
) -> None:
    code, text, err = call("prepare", *options)
    assert code == 2 and words in err and not text


def test_the_scenes_suite_names_its_folders() -> None:
    from editar_bench.evaluators.weights import DEFAULT_FOLDER
    from models.weights_manifest import WEIGHTS

    found = SUITES["scenes"].places()
    assert found["weights"] == WEIGHTS and found["evaluators"] == DEFAULT_FOLDER
    assert found["data"].name == "scenes"
    with pytest.raises(UserError, match="cannot be bundled"):
        Suite(name="x", datasets=("x",), models=(), summary="").places()


def test_a_published_data_set_travels_without_the_models_of_its_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "here"))
    original = tmp_path / "here" / "pie-bench" / "original"
    original.mkdir(parents=True)
    pie_archive(original, **{"000000000001": pie_item()})
    path = str(tmp_path / "pie.tar")
    code, text, _ = call("prepare", "--dataset", "pie-bench", "--bundle", path)
    assert code == 1 and f"{path}: 1 file(s)" in text and "weights editar: " in text
    told = next(line for line in text.splitlines() if "fingerprint" in line)
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "there"))
    code, text, _ = call("prepare", "--dataset", "pie-bench", "--from", path)
    assert "verified, 1 file(s) new" in text and told in text
    assert not (tmp_path / "there" / "pie-bench" / "original").exists()


def test_files_are_read_in_pieces(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editar_bench import bundle as module

    sizes: list[int] = []
    real = module._Summed.read

    def noted(self: Any, size: int = -1) -> bytes:
        sizes.append(size)
        return real(self, size)

    monkeypatch.setattr(module._Summed, "read", noted)
    write_bundle(tmp_path / "b.tar", "scenes", places(here))
    unpack_bundle(tmp_path / "b.tar", "scenes", places(tmp_path / "there"))
    assert sizes and min(sizes) > 0 and max(sizes) <= 2**20
