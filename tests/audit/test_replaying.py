"""Every variant is made again to the last bit from what is stored; another source or picture is refused, never used."""

import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from small import bake, copied, edit, pixels, sha256, sign, stored
from tampering import INDEX, SHARD, images_forged, json_forged, key, mixing, rows_forged, sources, with_value

from mixbake.audit.replay import Replay, Replayer
from mixbake.audit.strip import draw_strip
from mixbake.errors import Damage, PlanDiffers, UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf

Bakes = Callable[[str], Path]


def opened(out: Path, **settings: Any) -> Replayer:
    return Replayer(Bake.open(LocalShelf(out)), out, **settings)


def replayed(out: Path, wanted: str, **settings: Any) -> Replay:
    replayer = opened(out, **settings)
    return replayer.replay(*replayer.find(wanted))


def assert_all_equal(out: Path) -> int:
    """Make every variant again; returns how many mix with a picture."""
    replayer, mixed = opened(out), 0
    for (view, number, image), members in stored(out).items():
        name = f"{image:08d}-{'c' if view == 'clean' else ''}{number:04d}"
        found = replayer.replay(*replayer.find(name))
        assert found.equal, (name, found.verdict)
        assert found.variant.key == name
        np.testing.assert_array_equal(found.stored, pixels(members))
        mixed += found.picture is not None
    return mixed


class TestEveryVariant:
    @pytest.mark.parametrize(
        "settings",
        [
            {"codec": "png", "size": 24, "views": "jsd"},
            {"codec": "png", "size": 72, "flip": "baked"},
            {"codec": "jpeg", "size": 72, "views": "clean"},
            {"codec": "jpeg", "size": 40, "quality": 60, "crop": "fit"},
            {"codec": "webp", "size": 40, "quality": 80},
            {"codec": "webp", "size": 40, "quality": 100},
            {"codec": "raw", "size": 24, "crop": "resized", "recipe": "layermix-code"},
            {"codec": "png", "size": 32, "recipe": "layermix-article"},
            {"codec": "png", "size": 32, "recipe": "layermix-imagenet", "overrides": {"op_set": "layer16"}},
            {"codec": "raw", "size": 32, "recipe": "plain"},
        ],
        ids=lambda one: "-".join(map(str, one.values())),
    )
    def test_is_equal(
        self, tmp_path: Path, picture_folder: Path, write_images: Callable[..., Path], settings: dict[str, Any]
    ) -> None:
        source = write_images(tmp_path / "images", 9, size=90)
        bake(source, tmp_path / "out", picture_folder, epochs_worth=3, **settings)
        mixed = assert_all_equal(tmp_path / "out")
        assert (mixed > 3) is (settings.get("recipe") != "plain")


class TestRefusals:
    @pytest.mark.parametrize("wanted", ["00000400-0000", "00000000-0002", "00000000-c0002", "0-0", "", "../x\x1b[2J"])
    def test_unknown_keys_are_told_what_keys_there_are(self, bakes: Bakes, wanted: str) -> None:
        with pytest.raises(UsageError, match="00000000-0000 to 00000399-0001 and from 00000000-c0000") as told:
            opened(bakes("fixed")).find(wanted)
        assert "\x1b" not in str(told.value)

    def test_a_source_that_is_gone(self, bakes: Bakes, tmp_path: Path) -> None:
        with pytest.raises(PlanDiffers, match="--source"):
            replayed(bakes("fixed"), key(bakes("fixed")), source=str(tmp_path / "gone"))

    def test_another_source_of_the_same_names(
        self, bakes: Bakes, tmp_path: Path, write_images: Callable[..., Path]
    ) -> None:
        other = write_images(tmp_path / "other", 400, size=18)
        with pytest.raises(PlanDiffers, match="not the image that was baked"):
            replayed(bakes("fixed"), key(bakes("fixed")), source=str(other))

    def test_a_source_that_lacks_the_image(
        self, bakes: Bakes, tmp_path: Path, write_images: Callable[..., Path]
    ) -> None:
        with pytest.raises(PlanDiffers, match="is not in"):
            replayed(bakes("fixed"), "00000399-0000", source=str(write_images(tmp_path / "few", 3, size=16)))

    def test_an_image_that_cannot_be_decoded_is_named_in_one_plain_line(self, bakes: Bakes, tmp_path: Path) -> None:
        own, moved, name = copied(bakes("fixed"), tmp_path / "own"), tmp_path / "moved", "ash/\x1b[2J.png"
        (moved / "ash").mkdir(parents=True)
        (moved / name).write_bytes(b"no picture")
        forged = {"source": name, "source_sha256": sha256(moved / name)}
        images_forged(
            lambda table: pa.table(
                {
                    column: pa.array(
                        [forged.get(column, table[column][0].as_py()), *table[column].to_pylist()[1:]], field.type
                    )
                    for column, field in zip(table.column_names, table.schema, strict=True)
                }
            )
        )(own)
        with pytest.raises(PlanDiffers, match="cannot be decoded") as told:
            replayed(own, "00000000-0000", source=str(moved))
        assert str(told.value).isprintable()

    def test_a_bake_that_does_not_say_where_its_source_is(self, bakes: Bakes, tmp_path: Path) -> None:
        for number, given in enumerate(({}, {"source": 3}, ["images"], None)):
            own = copied(bakes("fixed"), tmp_path / f"{number}")
            edit(own / "manifest.json", lambda document, given=given: document.update(given=given))
            sign(own)
            with pytest.raises(PlanDiffers, match="does not say where its source is"):
                replayed(own, key(own))
            assert replayed(own, key(own), source=str(sources(bakes("fixed")))).equal

    def test_a_moved_source_is_found(self, bakes: Bakes, tmp_path: Path) -> None:
        moved = copied(sources(bakes("fixed")), tmp_path / "moved")
        assert replayed(bakes("fixed"), key(bakes("fixed")), source=str(moved)).equal


class TestPictures:
    @staticmethod
    def mixed(out: Path) -> str:
        replayer = opened(out)
        return next(
            name
            for name in (replayer.key("mix", 0, i) for i in range(50))
            if replayer.replay(*replayer.find(name)).picture is not None
        )

    @pytest.mark.parametrize("how", ["gone", "altered", "another"])
    def test_that_are_not_the_bakes_are_refused(
        self, bakes: Bakes, tmp_path: Path, picture_folder: Path, how: str
    ) -> None:
        own, wanted = copied(bakes("fixed"), tmp_path / "own"), self.mixed(bakes("fixed"))
        data = bytearray(mixing(own).read_bytes())
        if how == "another":
            data = bytearray(mixing(bakes("jpeg")).read_bytes())
        data[-1] ^= how == "altered"
        mixing(own).unlink() if how == "gone" else mixing(own).write_bytes(bytes(data))
        with pytest.raises(PlanDiffers, match="--mixing-set"):
            replayed(own, wanted)
        assert replayed(own, wanted, mixing_set=str(picture_folder)).equal

    def test_of_a_folder_that_is_not_there_are_refused(self, bakes: Bakes, tmp_path: Path) -> None:
        with pytest.raises(PlanDiffers, match=r"nowhere.*--mixing-set"):
            replayed(bakes("fixed"), self.mixed(bakes("fixed")), mixing_set=str(tmp_path / "nowhere"))

    @pytest.mark.parametrize("given", ["source", "mixing_set"])
    def test_a_refusal_is_remembered(
        self, bakes: Bakes, tmp_path: Path, write_images: Callable[..., Path], given: str
    ) -> None:
        wanted, right = self.mixed(bakes("fixed")), sources(bakes("fixed"))
        replayer = opened(bakes("fixed"), **({"source": str(right)} | {given: str(tmp_path / "absent")}))
        place = replayer.find(wanted)
        with pytest.raises(PlanDiffers) as first:
            replayer.replay(*place)
        # What would be taken if it were looked for once more.
        copied(right, tmp_path / "absent") if given == "source" else write_images(tmp_path / "absent", 6)
        with pytest.raises(PlanDiffers) as second:
            replayer.replay(*place)
        assert str(second.value) == str(first.value)

    def test_of_another_set_are_refused(self, bakes: Bakes, tmp_path: Path, write_images: Callable[..., Path]) -> None:
        other = write_images(tmp_path / "other", 6, size=72)
        with pytest.raises(PlanDiffers, match="not the mixing set"):
            replayed(bakes("fixed"), self.mixed(bakes("fixed")), mixing_set=str(other))


class TestMetadata:
    @pytest.mark.parametrize("kind", ["fixed", "jpeg", "raw"])
    def test_that_does_not_give_its_pixels_is_named(self, bakes: Bakes, tmp_path: Path, kind: str) -> None:
        own, wanted = copied(bakes(kind), tmp_path / "own"), key(bakes(kind))
        invert = {"do": "invert", "src": [0], "args": []}
        json_forged(lambda one: one["steps"].append(invert))(own)
        found = replayed(own, wanted)
        assert not found.equal
        with pytest.raises(Damage, match=f"{SHARD}, {wanted}: its program does not make its picture"):
            found.require_equal()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda one: one["steps"].append({"do": "os.system", "src": [0], "args": []}), "schema"),
            (lambda one: one["steps"].append({"do": "invert", "src": [7], "args": []}), "registers"),
            (lambda one: one["steps"].append({"do": "rotate", "src": [0], "args": [1e9]}), "rotate"),
            (lambda one: one["crop"].update(left=10**9), "crop"),
            (lambda one: one["crop"].update(left=10**40), "crop"),
            (lambda one: one.update(layer=10**6), "layer|bounds|program|integer"),
            (lambda one: one.update(ops=["no such op"]), "no such op"),
            (lambda one: one.update(picture={**PICTURE, "id": 10**6}), "picture"),
            (lambda one: one.update(picture={**PICTURE, "left": 10**6}), "picture"),
            (lambda one: one.update(image=one["image"] + 1), "JSON is that of"),
        ],
    )
    def test_that_no_renderer_can_obey_is_damage(
        self, bakes: Bakes, tmp_path: Path, change: Callable[[Any], object], says: str
    ) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        json_forged(change)(own)
        with pytest.raises(Damage, match=says):
            replayed(own, key(own))

    def test_an_altered_index_is_damage(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / INDEX).write_bytes((own / INDEX).read_bytes()[::-1])
        with pytest.raises(Damage, match=INDEX):
            replayed(own, key(bakes("fixed")))

    def test_a_forged_size_is_refused_before_anything_of_it_is_read(self, bakes: Bakes, tmp_path: Path) -> None:
        own, size = copied(bakes("jpeg"), tmp_path / "own"), 50_000_000
        with (own / SHARD).open("r+b") as shard:
            shard.truncate(2 * size)
        rows_forged(with_value("size", lambda _size: size))(own)
        replayer = opened(own)
        place = replayer.find(key(bakes("jpeg")))
        tracemalloc.start()
        try:
            with pytest.raises(Damage, match=f"{INDEX}.*50,000,000"):
                replayer.replay(*place)
            assert tracemalloc.get_traced_memory()[1] < size // 5
        finally:
            tracemalloc.stop()

    def test_other_libraries_may_differ_within_the_bound_alone(
        self, bakes: Bakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mixbake.audit import replay

        monkeypatch.setattr(replay, "environment_id", lambda: {"pillow": "another"})
        own, wanted = copied(bakes("fixed"), tmp_path / "own"), key(bakes("fixed"))
        assert replayed(own, wanted).equal
        json_forged(lambda one: one["steps"].append({"do": "brightness", "src": [0], "args": [0.99]}))(own)
        json_forged(lambda one: one["steps"].pop(-2) if len(one["steps"]) > 1 else None)(own)
        found = replayed(own, wanted)
        assert found.good is (found.psnr >= replay.BOUND)
        monkeypatch.setattr(replay, "BOUND", 0.0)
        assert found.good
        monkeypatch.setattr(replay, "BOUND", 200.0)
        assert not found.good


PICTURE = {"id": 0, "left": 0, "top": 0, "hflip": False, "vflip": False, "gray": True}


class TestStrip:
    def test_shows_every_step(self, bakes: Bakes) -> None:
        for kind in ("fixed", "jpeg"):
            replayer = opened(bakes(kind))
            for position in range(12):
                found = replayer.replay("mix", 0, position)
                with Image.open(io.BytesIO(draw_strip(found))) as strip:
                    strip.load()
                    shown = 3 + len(found.variant.steps) + (found.picture is not None)
                    assert strip.width > 100 * shown
                    assert strip.height < 500

    def test_of_a_bare_crop(self, bakes: Bakes) -> None:
        assert draw_strip(replayed(bakes("jpeg"), "00000000-c0000")).startswith(b"\x89PNG")


@pytest.mark.slow
class TestCommand:
    def test_exit_codes_and_strip(self, bakes: Bakes, tmp_path: Path, mixbake: Callable[..., Any]) -> None:
        wanted, strip = key(bakes("jpeg")), tmp_path / "strip.png"
        done = mixbake("replay", bakes("jpeg"), wanted, "-o", strip, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["equal"] is True
        assert strip.read_bytes().startswith(b"\x89PNG")
        assert mixbake("replay", bakes("jpeg"), wanted, "--source", tmp_path / "gone").code == 5
        own = copied(bakes("jpeg"), tmp_path / "own")
        json_forged(lambda one: one["steps"].append({"do": "invert", "src": [0], "args": []}))(own)
        sign(own)
        done = mixbake("replay", own, wanted)
        assert done.code == 6
        assert wanted in done.err
