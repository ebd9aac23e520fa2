"""`build --repair` restores the same bytes after any damage, and changes nothing when it cannot."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import Silent, copied, flip_bit, sha256
from tampering import SHARD, key, place
from tampering_cases import CASES, Case

from mixbake.audit.verify import Checks, damaged_files, verify
from mixbake.bake.build import build
from mixbake.bake.settings import BuildSettings
from mixbake.errors import PlanDiffers, UsageError

Bakes = Callable[[str], Path]
WHOLE = {
    "fixed": [
        "a pixel", "a header's mode", "an index", "a receipt", "bake.json", "a digest in bake.json", "the manifest",
        "images.parquet", "a mixing picture", "no mixing file", "a shard lost", "a shard cut", "a shard doubled",
        "an index lost", "a receipt lost", "forged: JSON swapped", "forged: label", "forged: row's label",
        "forged: a shard doubled", "forged: a pickle added",
    ],
    "jpeg": ["a byte of a JPEG", "lengths", "images.parquet", "forged: lengths", "forged: label in JSON"],
}  # fmt: skip
EACH = [pytest.param(kind, CASES[name], id=f"{name}, {kind}") for kind, names in WHOLE.items() for name in names]


def repair(out: Path, like: Path, pictures: Path, **settings: Any) -> None:
    """The command that baked `like`, on `out`, with --repair."""
    import json

    given = json.loads((like / "manifest.json").read_bytes())["given"]["source"]
    codec = "auto" if like.name == "fixed" else like.name
    command = {
        "source": given, "mixing_set": str(pictures), "epochs_worth": 2, "views": "clean", "codec": codec,
        "seed": 7, "executor": "inline", "repair": True,
    }  # fmt: skip
    build(BuildSettings(out=out, **(command | settings)), Silent(), inspect=damaged_files)


def hashes(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("kind", "case"), EACH)
def test_the_same_bytes_come_back(bakes: Bakes, tmp_path: Path, picture_folder: Path, kind: str, case: Case) -> None:
    whole, own = bakes(kind), copied(bakes(kind), tmp_path / "own")
    case.change(own)
    repair(own, whole, picture_folder)
    assert hashes(own) == hashes(whole)


def test_only_what_is_damaged_is_baked_again(bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    CASES["a pixel"].change(own)
    before = {path: path.stat().st_ino for path in own.rglob("*.tar")}
    repair(own, bakes("fixed"), picture_folder)
    assert {path.name for path, inode in before.items() if path.stat().st_ino != inode} == {Path(SHARD).name}


@pytest.mark.slow
def test_a_new_digest_is_told(
    tmp_path: Path, mixbake: Callable[..., Any], image_folder: Path, picture_folder: Path
) -> None:
    asked = ("build", image_folder, tmp_path / "own", "--mixing-set", picture_folder, "--executor", "inline")
    for worth in (1, 2):
        assert mixbake(*asked, "--epochs-worth", worth).code == 0
    before = sha256(tmp_path / "own" / "bake.json")
    assert "bake digest is" not in mixbake(*asked, "--epochs-worth", 2, "--repair").err
    for shard in (tmp_path / "own" / "mix").rglob("*.tar"):
        flip_bit(shard, 600)
    done = mixbake(*asked, "--epochs-worth", 2, "--repair")
    now = sha256(tmp_path / "own" / "bake.json")
    assert done.code == 0
    assert now != before
    assert f"the bake digest is {now}, not {before}" in done.err


def test_several_damages_at_once(bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    for name in ("a name", "images.parquet", "a mixing picture", "the manifest"):
        CASES[name].change(own)
    shutil.rmtree(own / "mix/v001")
    repair(own, bakes("fixed"), picture_folder)
    assert hashes(own) == hashes(bakes("fixed"))


def test_a_whole_bake_stays_as_it_is(bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
    own = copied(bakes("fixed"), tmp_path / "own")
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    repair(own, bakes("fixed"), picture_folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before


class TestRefusals:
    @pytest.mark.parametrize(
        "settings", [{"seed": 8}, {"views": "mix"}, {"overrides": {"severity": 3}}], ids=["seed", "views", "recipe"]
    )
    @pytest.mark.parametrize("damage", ["a pixel", "the manifest", "bake.json"])
    def test_another_plan_deletes_nothing(
        self, bakes: Bakes, tmp_path: Path, picture_folder: Path, settings: dict[str, Any], damage: str
    ) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        CASES[damage].change(own)
        before = hashes(own)
        with pytest.raises(PlanDiffers):
            repair(own, bakes("fixed"), picture_folder, **settings)
        assert hashes(own) == before

    def test_another_source(self, bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
        """One image of the damaged block is another one of the same size."""
        own = copied(bakes("fixed"), tmp_path / "own")
        import json

        source = copied(Path(json.loads((own / "manifest.json").read_bytes())["given"]["source"]), tmp_path / "images")
        number = int(key(own)[:8])
        image = sorted(path for path in source.rglob("*.*") if path.is_file())[number]
        data = bytearray(image.read_bytes())
        data[-15] ^= 1
        image.write_bytes(bytes(data))
        CASES["a pixel"].change(own)
        with pytest.raises(PlanDiffers, match=image.name):
            repair(own, bakes("fixed"), picture_folder, source=str(source))

    def test_another_environment(
        self, bakes: Bakes, tmp_path: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mixbake.bake import settings

        own = copied(bakes("fixed"), tmp_path / "own")
        CASES["a pixel"].change(own)
        before = hashes(own)
        monkeypatch.setattr(settings, "environment_id", lambda: {"pillow": "another"})
        with pytest.raises(PlanDiffers, match="environment"):
            repair(own, bakes("fixed"), picture_folder)
        assert hashes(own) == before

    def test_a_folder_behind_a_link(self, bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        CASES["a pixel"].change(own)
        (own / "mix").rename(tmp_path / "elsewhere")
        (own / "mix").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(PlanDiffers, match="link"):
            repair(own, bakes("fixed"), picture_folder)

    def test_nothing_to_repair(self, bakes: Bakes, tmp_path: Path, picture_folder: Path) -> None:
        with pytest.raises(UsageError, match="no bake to repair"):
            repair(tmp_path / "nothing", bakes("fixed"), picture_folder)
        with pytest.raises(UsageError, match="choose one"):
            BuildSettings(repair=True, overwrite=True)


@pytest.mark.slow
def test_the_command(bakes: Bakes, tmp_path: Path, picture_folder: Path, mixbake: Callable[..., Any]) -> None:
    import json

    own = copied(bakes("fixed"), tmp_path / "own")
    CASES["a pixel"].change(own)
    source = json.loads((own / "manifest.json").read_bytes())["given"]["source"]
    command = ["build", source, own, "-n", 2, "--views", "clean", "--seed", 7, "--mixing-set", picture_folder]
    done = mixbake(*command, "--executor", "inline", "--repair")
    assert done.code == 0, done.err
    assert SHARD in done.err
    assert verify(own, Checks(full=True)).intact
    assert place(own, 0) == place(bakes("fixed"), 0)
