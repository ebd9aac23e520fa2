"""A bake that lost a file is made whole by the same command; no file of another plan or range stays in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bakes import bake, tars

from mixbake.bake import build as building
from mixbake.errors import Damage, PlanDiffers, UsageError


class StoppedError(Exception):
    """What ends a build early here."""


def index_keys(out: Path) -> list[str]:
    return [key for path in (out / "index").glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist()]


@contextmanager
def stopped_before_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks are baked, bake.json is not written: as after a power cut."""

    def stop(*_: Any, **__: Any) -> Any:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(building, "finish", stop)
        with pytest.raises(StoppedError):
            yield


@pytest.mark.parametrize(
    "victim", ["mix/v001/000000.tar", "index/000000-v000-002.parquet", "receipts/000000-v000-002.json"]
)
def test_a_lost_file_comes_back(tmp_path: Path, image_folder: Path, picture_folder: Path, victim: str) -> None:
    out = tmp_path / "out"
    digest = bake(image_folder, out, picture_folder, epochs_worth=3).finished.digest
    whole = tars(out)
    (out / victim).unlink()
    # Also when fewer epochs' worth are asked for: what was finished is made whole.
    again = bake(image_folder, out, picture_folder, epochs_worth=2)
    assert (out / victim).exists()
    assert tars(out) == whole
    assert again.finished.digest == digest


def test_ranges_cut_anew_leave_no_variant_twice(
    tmp_path: Path, image_folder: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with stopped_before_the_end(monkeypatch):
        bake(image_folder, out, picture_folder, epochs_worth=20)
    first = next((out / "receipts").glob("*-v000-*.json"))
    first.unlink()
    bake(image_folder, out, picture_folder, epochs_worth=24)
    keys = index_keys(out)
    assert len(keys) == len(set(keys)) == 24 * len(pq.read_table(out / "images.parquet"))


def test_overwriting_takes_an_unfinished_extension_along(
    tmp_path: Path, image_folder: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    bake(image_folder, out, picture_folder, epochs_worth=1)
    with stopped_before_the_end(monkeypatch):
        bake(image_folder, out, picture_folder, epochs_worth=3)
    bake(image_folder, out, picture_folder, epochs_worth=1, seed=8, overwrite=True)
    assert not (out / "mix" / "v001").exists()
    assert len(index_keys(out)) == len(pq.read_table(out / "images.parquet"))


def test_an_image_that_changed_while_unfinished_is_refused(
    tmp_path: Path, own_images: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of equal length, so that only its hash tells."""
    out = tmp_path / "out"
    with stopped_before_the_end(monkeypatch):
        bake(own_images, out, picture_folder, epochs_worth=1)
    changed = min(path for path in own_images.rglob("*.*") if path.is_file())
    data = bytearray(changed.read_bytes())
    data[-20] ^= 1
    changed.write_bytes(data)
    with pytest.raises(PlanDiffers, match=changed.name):
        bake(own_images, out, picture_folder, epochs_worth=2)


@pytest.mark.parametrize("document", [{"name": "a web app"}, ["a list"], {"format": "mixbake bake 1"}])
def test_a_foreign_manifest_is_refused(
    tmp_path: Path, image_folder: Path, picture_folder: Path, document: object
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(PlanDiffers, match=r"manifest\.json"):
        bake(image_folder, out, picture_folder)


def test_a_damaged_table_is_named(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    bake(image_folder, out, picture_folder, epochs_worth=1)
    (out / "images.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(Damage, match=r"images\.parquet"):
        bake(image_folder, out, picture_folder, epochs_worth=2)


@pytest.mark.parametrize(
    "settings", [{"executor": "threads"}, {"size": 4}, {"size": 1025}, {"overrides": {"beta": 1e-7}}]
)
def test_nothing_is_written_before_a_refusal(
    tmp_path: Path, image_folder: Path, picture_folder: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        bake(image_folder, tmp_path / "out", picture_folder, **settings)
    assert not (tmp_path / "out").exists()
