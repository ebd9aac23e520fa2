"""Promises of `mixbake compare`: counts and shares are those of the tars, tests those of scipy, sheets are paired."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency
from small import Key, bake, copied, edit, pixels, promises, sha256, stored

import mixbake.audit
from mixbake.audit.beside import explain, write_strips
from mixbake.audit.compare import Comparison, compare, find_pairs, sample_pairs, two_samples
from mixbake.errors import PlanDiffers, UsageError

Samples = dict[Key, dict[str, bytes]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def strong(folder: Path, image_folder: Path, picture_folder: Path) -> Path:
    """40 images, three epochs' worth, severity 8."""
    bake(image_folder, folder / "strong", picture_folder, epochs_worth=3)
    return folder / "strong"


@pytest.fixture(scope="module")
def weak(folder: Path, image_folder: Path, picture_folder: Path) -> Path:
    """The same at severity 3, and two epochs' worth with clean crops."""
    bake(image_folder, folder / "weak", picture_folder, epochs_worth=2, views="clean", overrides={"severity": 3.0})
    return folder / "weak"


@pytest.fixture(scope="module")
def other_seed(folder: Path, image_folder: Path, picture_folder: Path) -> Path:
    bake(image_folder, folder / "seed", picture_folder, epochs_worth=2, seed=8)
    return folder / "seed"


@pytest.fixture(scope="module")
def other_source(folder: Path, picture_folder: Path, write_images: Callable[..., Path]) -> Path:
    bake(write_images(folder / "images", 30), folder / "source", picture_folder)
    return folder / "source"


def compared(a: Path, b: Path, **settings: Any) -> Comparison:
    return compare(mixbake.audit.open(a).catalog, mixbake.audit.open(b).catalog, **settings)


def texts(samples: Samples) -> dict[Key, Any]:
    return {key: json.loads(members["json"]) for key, members in samples.items() if key[0] == "mix"}


def agreements(found: Comparison) -> dict[str, tuple[int, int]]:
    return {one.what: (one.equal, one.of) for one in found.agreements}


def test_the_fields_that_differ_are_those_of_the_commands(strong: Path, weak: Path) -> None:
    found = compared(strong, weak)
    assert {one.field: (one.a, one.b) for one in found.differences} == {
        "recipe.severity": ("8", "3"), "views": ('"mix"', '"clean"'),
    }  # fmt: skip
    assert (found.a.worth, found.b.worth) == (3, 2)
    assert (found.a.variants, found.b.variants) == (120, 80)
    assert (found.a.digest, found.b.digest) == (sha256(strong / "bake.json"), sha256(weak / "bake.json"))
    assert found.same_source
    assert found.same_classes
    assert found.same_mixing
    assert found.same_environment


def test_counts_and_tests_are_those_of_the_tars(strong: Path, other_seed: Path) -> None:
    found, sides = compared(strong, other_seed), [texts(stored(out)).values() for out in (strong, other_seed)]
    first = {
        "layer": lambda text: str(text["layer"]),
        "op": lambda text: text["ops"][0],
        "blend": lambda text: (text["blends"] or ["none"])[0],
    }
    assert [one.name for one in found.distributions] == list(first)
    for one in found.distributions:
        counted = [Counter(map(first[one.name], side)) for side in sides]
        for side, name in zip(counted, "ab", strict=True):
            assert {count.value: getattr(count, name) for count in one.counts if getattr(count, name)} == side
    layers = found.distributions[0]
    wanted = chi2_contingency([[count.a for count in layers.counts], [count.b for count in layers.counts]])
    assert layers.test is not None
    assert (layers.test.chi_square, layers.test.p) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert layers.test.freedom == wanted.dof


def test_mean_levels_are_those_of_the_tars(strong: Path, weak: Path) -> None:
    found = {one.op: (one.a, one.b) for one in compared(strong, weak).levels}
    for side, out in enumerate((strong, weak)):
        levels: dict[str, list[float]] = {}
        for text in texts(stored(out)).values():
            levels.setdefault(text["ops"][0], []).append(abs(text["levels"][0]))
        for op, means in found.items():
            assert means[side] == pytest.approx(np.mean(levels[op]))
    assert all(weak_mean < strong_mean for strong_mean, weak_mean in found.values())
    assert len(found) > 3


def test_pairs_share_what_the_tars_share(strong: Path, weak: Path, other_seed: Path) -> None:
    ours = stored(strong)
    for out in (weak, other_seed):
        found, theirs = agreements(compared(strong, out)), stored(out)
        one, other = texts(ours), texts(theirs)
        both = sorted(one.keys() & other.keys())
        assert len(both) == 80

        def equal(what: Callable[[Any], Any], one: Any = one, other: Any = other, both: Any = both) -> tuple[int, int]:
            return sum(what(one[key]) == what(other[key]) for key in both), len(both)

        assert found["layer"] == equal(lambda text: text["layer"])
        assert found["crop"] == equal(lambda text: (text["crop"], text["flip"]))
        mixed = [key for key in both if one[key]["picture"] and other[key]["picture"]]
        assert found["window"] == (sum(one[key]["picture"] == other[key]["picture"] for key in mixed), len(mixed))
        same = [np.array_equal(pixels(ours[key]), pixels(theirs[key])) for key in both]
        assert found["pixels"] == (sum(same), len(both))
    paired, apart = (agreements(compared(strong, out)) for out in (weak, other_seed))
    assert paired["crop"] == paired["flip"] == (80, 80)
    assert paired["window"][0] == paired["window"][1] > 0
    assert apart["crop"][0] < 20


def test_a_bake_is_equal_to_itself(strong: Path) -> None:
    found = compared(strong, strong)
    assert not found.differences
    assert all(one.equal == one.of > 0 for one in found.agreements)
    assert all(one.test is None or one.test.p > 0.999 for one in found.distributions)


def test_a_sample_is_stated_and_the_same_for_a_seed(strong: Path, weak: Path) -> None:
    a, b = (mixbake.audit.open(out).catalog for out in (strong, weak))
    pairs = find_pairs(a, b)
    chosen = sample_pairs(a, pairs, 10, 1)
    assert a.take(chosen.a, ["key"]) == b.take(chosen.b, ["key"])
    assert len(set(chosen.a.tolist())) == 10
    assert (sample_pairs(a, pairs, 10, 1).a == chosen.a).all()
    assert (sample_pairs(a, pairs, 10, 2).a != chosen.a).any()
    found = compare(a, b, sample=10)
    assert found.sampled == 10
    assert agreements(found)["pixels"][1] == 10
    assert "10 of them, seed 0" in explain(found)
    with pytest.raises(UsageError, match="at least 1"):
        compare(a, b, sample=0)


def test_rare_cells_are_tested_together() -> None:
    found = two_samples([500, 480, 1, 0, 2], [450, 530, 0, 2, 1])
    wanted = chi2_contingency([[500, 480, 3], [450, 530, 3]])
    assert found is not None
    assert (found.chi_square, found.freedom, found.p) == pytest.approx((wanted.statistic, 2, wanted.pvalue))
    assert two_samples([5, 0], [7, 0]) is None
    assert two_samples([0, 0], [7, 3]) is None


def test_other_sources_are_compared_without_pairs(
    command: Any, strong: Path, other_source: Path, tmp_path: Path
) -> None:
    done = command("compare", strong, other_source)
    assert done.code == 0, done.err
    assert "different sources" in done.out
    assert "images: 40 | 30" in done.out
    done = command("compare", strong, other_source, "-o", tmp_path / "sheet.png")
    assert done.code == 5
    assert "different sources" in done.err
    assert "rotate" in done.out
    assert not list(tmp_path.iterdir())


def test_one_image_with_other_bytes_ends_the_pairing(
    tmp_path: Path, own_images: Path, picture_folder: Path, strong: Path
) -> None:
    path = next(own_images.glob("*/*.jpg"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    bake(own_images, tmp_path / "own", picture_folder)
    found = compared(strong, tmp_path / "own")
    assert (found.same_source, found.other_images, found.paired, found.pairs) == (True, 1, False, 0)
    with pytest.raises(PlanDiffers, match="1 images of the source"):
        write_strips(
            *(mixbake.audit.open(out).catalog for out in (strong, tmp_path / "own")), found, tmp_path / "s.png", count=1
        )


def test_a_plain_bake_has_no_ops_and_no_pictures(
    tmp_path: Path, image_folder: Path, picture_folder: Path, strong: Path
) -> None:
    bake(image_folder, tmp_path / "plain", picture_folder, recipe="plain")
    found = compared(strong, tmp_path / "plain")
    assert {count.value for count in found.distributions[1].counts if count.b} == {"none"}
    assert not found.same_mixing
    assert not found.levels
    assert not {"picture", "window"} & set(agreements(found))
    assert agreements(found)["crop"] == (40, 40)


class TestSheet:
    def test_shows_the_crop_and_both_variants(self, command: Any, strong: Path, weak: Path, tmp_path: Path) -> None:
        done = command("compare", strong, weak, "-o", tmp_path / "sheet.html", "-n", 4)
        assert done.code == 0, done.err
        page = (tmp_path / "sheet.html").read_text()
        assert page.count("<figure>") == 4
        assert page.count("<img") == 12
        assert command("compare", strong, weak, "-o", tmp_path / "sheet.png", "-n", 3).code == 0
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width > 700

    def test_shows_both_crops_where_they_differ(
        self, command: Any, strong: Path, other_seed: Path, tmp_path: Path
    ) -> None:
        assert command("compare", strong, other_seed, "-o", tmp_path / "sheet.html", "-n", 4).code == 0
        assert "crop of B" in (tmp_path / "sheet.html").read_text()

    def test_finds_a_moved_source(self, command: Any, tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
        source = copied(image_folder, tmp_path / "images")
        for severity in (8.0, 3.0):
            bake(source, tmp_path / f"{severity:g}", picture_folder, overrides={"severity": severity})
        source.rename(tmp_path / "moved")
        both = tmp_path / "8", tmp_path / "3", "-o", tmp_path / "sheet.png"
        done = command("compare", *both)
        assert done.code == 5
        assert "--source" in done.err
        assert command("compare", *both, "--source", tmp_path / "nowhere").code == 2
        assert command("compare", *both, "--source", tmp_path / "moved").code == 0

    def test_replaces_nothing_and_knows_its_endings(
        self, command: Any, strong: Path, weak: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "sheet.png").write_bytes(b"mine")
        for name, said in (("sheet.png", "there already"), ("sheet.gif", ".png or .html")):
            done = command("compare", strong, weak, "-o", tmp_path / name)
            assert done.code == 2
            assert said in done.err
        assert (tmp_path / "sheet.png").read_bytes() == b"mine"
        assert command("compare", strong, weak, "-o", tmp_path / "new.png", "-n", 0).code == 2
        assert command("compare", strong, weak, "--source", tmp_path).code == 2


def test_it_is_one_screen_and_one_document(command: Any, strong: Path, weak: Path) -> None:
    shown, document = command("compare", strong, weak), command("compare", strong, weak, "--json")
    assert shown.code == document.code == 0, shown.err + document.err
    assert len(shown.out.splitlines()) <= 40
    assert max(map(len, shown.out.splitlines())) <= 100
    found = json.loads(document.out)
    assert found["paired"] is True
    assert {one["what"]: one["share"] for one in found["agreements"]}["crop"] == 1


def test_what_is_no_finished_bake_is_refused(command: Any, tmp_path: Path, strong: Path) -> None:
    unfinished = copied(strong, tmp_path / "own")
    (unfinished / "bake.json").unlink()
    for pair in ((strong, tmp_path / "nowhere"), (tmp_path / "nowhere", strong), (strong, unfinished)):
        done = command("compare", *pair)
        assert done.code == 2
        assert "holds no finished bake" in done.err


def test_damage_is_named(command: Any, tmp_path: Path, strong: Path) -> None:
    own = copied(strong, tmp_path / "own")
    (own / "index" / "000000-v000-002.parquet").write_bytes(b"PAR1")
    done = command("compare", strong, own)
    assert done.code == 6
    assert "index/000000-v000-002.parquet" in done.err


def test_names_do_not_reach_the_terminal_raw(command: Any, tmp_path: Path, strong: Path, weak: Path) -> None:
    own = copied(strong, tmp_path / "own\x1b[2J")
    edit(own / "manifest.json", lambda document: document["plan"]["recipe"].update(name="\x1b]0;title\x07<b>"))
    for path in (own / "receipts").iterdir():
        edit(path, lambda receipt: receipt.update(plan=sha256(own / "manifest.json")))
    edit(own / "bake.json", lambda document: document.update(promises(own)))
    for flags in ([], ["--json"]):
        done = command("compare", own, weak, *flags)
        assert done.code == 0, done.err
        assert done.out.replace("\n", "").isprintable()
    done = command("compare", own, weak, "-o", tmp_path / "sheet.html", "-n", 2)
    assert done.code == 0, done.err
    assert "<b>)" not in (tmp_path / "sheet.html").read_text()
