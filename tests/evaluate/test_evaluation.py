"""An evaluation as a whole: the right pictures under the right labels, kept parts, and what is refused."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("torchmetrics", reason="the extra `evaluate` is not installed")

import striped  # noqa: E402 - torch must be there
from threads import one_thread  # noqa: E402, F401 - a fixture that every test of this file uses

from mixbake.cli import run as command  # noqa: E402
from mixbake.errors import Damage, UsageError  # noqa: E402
from mixbake.evaluate.asked import Evaluation, settle  # noqa: E402
from mixbake.evaluate.attacks import ATTACKS, attack  # noqa: E402
from mixbake.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt_all  # noqa: E402
from mixbake.evaluate.results import C, each_score, summary, variant_of  # noqa: E402
from mixbake.evaluate.run import Evaluated, evaluate  # noqa: E402
from mixbake.evaluate.sets import Drawn, Generated, Remembered, choose  # noqa: E402
from mixbake.evaluate.stored import from_json  # noqa: E402
from mixbake.storage.store import read_json  # noqa: E402
from mixbake.train.networks.catalog import build_network  # noqa: E402

COUNT = 40
Pictures = NDArray[np.uint8]


class Told:
    """Keeps what an evaluation says."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.parts: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)

    def seen(self, part: str, done: int, total: int) -> None:
        assert 0 < done <= total
        if part not in self.parts:
            self.parts.append(part)


@pytest.fixture(scope="module")
def pictures() -> tuple[Pictures, NDArray[np.int64]]:
    """In an order that is not that of the classes."""
    return striped.draw(COUNT, seed=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, pictures: tuple[Pictures, NDArray[np.int64]]) -> str:
    return striped.write_list(tmp_path_factory.mktemp("clean") / "list", *pictures)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return striped.write_run(tmp_path / "run")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def measured(run: Path, source: str, told: Told) -> Callable[..., Evaluated]:
    """measured(**settings): evaluate the network of `run`."""

    def measure(**settings: Any) -> Evaluated:
        return evaluate(settle(Evaluation(**{"network": run, "on": source, "device": "cpu"} | settings)), told)

    return measure


def answers(pictures: Pictures) -> NDArray[np.int64]:
    """The labels that the network of `striped.guess` gives, by plain torch."""
    network = build_network(striped.MODEL, classes=len(striped.CLASSES))
    network.load_state_dict(striped.guess())
    with torch.inference_mode():
        found = network.eval()(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1).argmax(1)
    return np.asarray(found.numpy())


def error_of(pictures: Pictures, labels: NDArray[np.int64]) -> float:
    return float((answers(pictures) != labels).mean())


# ── What is measured ──────────────────────────────────────────────────────────────────────────────


def test_errors_are_those_of_the_published_files(
    measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path
) -> None:
    """Clean, corrupted and perturbed, counted here by plain torch on the same arrays."""
    images, labels = pictures
    folder = striped.write_c(tmp_path / "CIFAR-4-C", images, labels, "contrast", "fog")
    videos = np.stack([images, 255 - images, 255 - images], axis=1)
    (tmp_path / "P").mkdir()
    np.save(tmp_path / "P/tilt.npy", videos)
    np.save(tmp_path / "P/shot_noise.npy", videos)
    results = measured(corrupt=str(folder), perturb=tmp_path / "P", batch_size=7).results
    assert results.clean.error == pytest.approx(error_of(images, labels))
    group = results.corruptions[C]
    assert (group.label, group.stand_in, group.imagenet) == ("CIFAR-4-C", False, False)
    assert list(group.found) == ["fog", "contrast"]
    for name, severities in group.found.items():
        for severity, scores in severities.scores.items():
            assert scores.images == COUNT
            assert scores.error == pytest.approx(error_of(corrupt_all(images, name, severity, 9), labels)), severity
    flips = float((answers(images) != answers(255 - images)).mean())
    assert flips > 0
    assert results.perturbed is not None
    assert results.perturbed.flips["tilt"].flip_probability == pytest.approx(flips / 2)
    assert results.perturbed.flips["shot_noise"].flip_probability == pytest.approx(flips)
    assert len(results.missing) == 13 + 8


def test_a_folder_of_pictures_and_a_list_of_them_say_the_same(
    measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path
) -> None:
    folder = striped.write_folder(tmp_path / "folder", *pictures)
    assert measured(on=str(folder)).results.clean.error == pytest.approx(measured().results.clean.error)


def test_stand_ins_say_that_they_are(measured: Callable[..., Evaluated], pictures: Any, told: Told) -> None:
    done = measured(corrupt="generated", limit=6)
    group = done.results.corruptions[C]
    assert group.stand_in
    assert group.label == "stand-ins, generated here; no published set"
    assert {name: list(one.scores) for name, one in group.found.items()} == {
        name: [*SEVERITIES] for name in CORRUPTIONS
    }
    images, labels = pictures
    chosen = choose(COUNT, 6, seed=0)
    worst = corrupt_all(images, "contrast", 5, 0)[chosen]
    assert group.found["contrast"].scores[5].error == pytest.approx(error_of(worst, labels[chosen]))
    assert {scores.images for scores in each_score(group)} == {6}


def test_a_limit_takes_the_same_pictures_of_every_set(
    measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path
) -> None:
    images, labels = pictures
    folder = striped.write_c(tmp_path / "C", images, labels, "fog")
    results = measured(corrupt=str(folder), limit=9, seed=4).results
    chosen = choose(COUNT, 9, seed=4)
    assert (results.limit, results.seed, results.clean.images) == (9, 4, 9)
    assert results.clean.error == pytest.approx(error_of(images[chosen], labels[chosen]))
    fog = corrupt_all(images, "fog", 3, 9)
    assert results.corruptions[C].found["fog"].scores[3].error == pytest.approx(error_of(fog[chosen], labels[chosen]))


def test_a_limit_does_not_change_where_an_attack_on_a_picture_starts(
    measured: Callable[..., Evaluated], pictures: Any
) -> None:
    images, labels = pictures
    found = measured(pgd="published", limit=3, seed=2).results.attacked
    network = build_network(striped.MODEL, classes=len(striped.CLASSES))
    network.load_state_dict(striped.guess())
    chosen = choose(COUNT, 3, seed=2)

    def farthest(places: list[int]) -> float:
        return attack(
            network, images[chosen], labels[chosen],
            kind=ATTACKS["published"], mean=[0.5] * 3, std=[0.5] * 3, device=torch.device("cpu"), seed=2, places=places,
        ).farthest  # fmt: skip

    assert found is not None
    assert found.farthest == farthest(chosen.tolist())
    assert found.farthest != farthest([0, 1, 2])


def test_renditions_are_told_apart_among_their_own_classes(
    measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path
) -> None:
    images, labels = pictures
    two = np.isin(labels, (1, 3))
    folder = striped.write_folder(tmp_path / "R", images[two], labels[two])
    found = measured(rendition=folder).results.rendition
    network = build_network(striped.MODEL, classes=4)
    network.load_state_dict(striped.guess())
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(images[two]).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
    assert found is not None
    assert found.error == pytest.approx(np.mean(np.where(logits[:, 3] > logits[:, 1], 3, 1) != labels[two]))


def test_anomalies_are_a_fifth_of_the_clean_pictures(measured: Callable[..., Evaluated], tmp_path: Path) -> None:
    folder = striped.write_folder(tmp_path / "Textures", *striped.draw(20, seed=8))
    found = measured(anomalies=(folder,)).results.anomalies
    assert {name: (one.images, one.drawn) for name, one in found.items()} == {
        "gaussian": (8, True),
        "rademacher": (8, True),
        "blobs": (8, True),
        "Textures": (8, False),
    }
    assert 0.2 < found["Textures"].auroc < 0.8  # they are pictures of the known classes


def test_a_learnt_network_errs_more_at_higher_severities_and_under_attack(
    measured: Callable[..., Evaluated], tmp_path: Path
) -> None:
    run = striped.write_run(tmp_path / "learnt", striped.learn())
    results = measured(network=run, corrupt="generated", pgd="exact").results
    by_severity = [
        np.mean([one.scores[severity].error for one in results.corruptions[C].found.values()])
        for severity in SEVERITIES
    ]
    assert by_severity == sorted(by_severity)
    assert results.clean.error + 0.1 < by_severity[-1]
    assert results.attacked is not None
    assert results.attacked.error >= results.clean.error
    assert 1.9 < results.attacked.farthest <= 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_written_is_what_was_found(measured: Callable[..., Evaluated], run: Path, precision: str) -> None:
    done = measured(precision=precision)
    assert done.folder.parent == run / "eval"
    value = read_json(done.folder / "results.json")
    assert from_json(value, "results.json") == done.results
    assert value["summary"] == summary(done.results)
    assert done.results.precision == precision
    assert done.results.model["classes"] == list(striped.CLASSES)
    assert len(done.results.model["sha256"]) == 64


def test_weights_of_others_are_named_by_hand(measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path) -> None:
    """Their classes are those of the clean pictures, in their order."""
    torch.save({"state_dict": striped.guess()}, tmp_path / "model.pth")
    results = measured(network=tmp_path / "model.pth", model=striped.MODEL).results
    assert results.clean.error == pytest.approx(error_of(*pictures))
    with pytest.raises(UsageError, match=r"does not say which network it is of: name it, --model"):
        measured(network=tmp_path / "model.pth")
    with pytest.raises(UsageError, match="is not of a wrn10_2 that tells the 4 classes of"):
        measured(network=tmp_path / "model.pth", model="wrn10_2")


# ── Pictures that are made while they are read ────────────────────────────────────────────────────


def test_generated_pictures_are_the_same_in_any_batch(pictures: Any) -> None:
    class Held:
        labels = pictures[1]

        def __len__(self) -> int:
            return COUNT

        def read(self, places: Any) -> Pictures:
            return pictures[0][np.asarray(places)].copy()

        def identity(self) -> Any:
            return "held"

    whole = corrupt_all(pictures[0], "glass_blur", 4, 2)
    chosen = choose(COUNT, 11, seed=0)
    for clean in (Held(), Remembered(Held(), chosen, striped.SIDE)):
        made = Generated(clean, "glass_blur", 4, 2)
        for size in (1, 3, 11):
            parts = [made.read(chosen[first : first + size].tolist()) for first in range(0, 11, size)]
            assert np.array_equal(np.concatenate(parts), whole[chosen])
    drawn = Drawn("blobs", 5, size=16, seed=1)
    assert np.array_equal(drawn.read([0, 1, 2, 3, 4])[3:], drawn.read([3, 4]))


def test_a_choice_depends_on_seed_and_length_alone() -> None:
    chosen = choose(100, 30, seed=0)
    assert len(set(chosen.tolist())) == 30
    assert chosen.tolist() == sorted(chosen.tolist())
    assert np.array_equal(chosen, choose(100, 30, seed=0))
    assert not np.array_equal(chosen, choose(100, 30, seed=1))
    assert set(choose(100, 10, seed=0)) < set(chosen)
    assert np.array_equal(choose(7, None, seed=0), np.arange(7))
    assert np.array_equal(choose(7, 9, seed=0), np.arange(7))


# ── Going on ──────────────────────────────────────────────────────────────────────────────────────


def test_finished_parts_are_not_measured_again(
    measured: Callable[..., Evaluated], run: Path, pictures: Any, told: Told, tmp_path: Path
) -> None:
    folder = striped.write_c(tmp_path / "C", *pictures, "fog")
    first = measured(corrupt=str(folder))
    told.parts.clear()
    again = measured(corrupt=str(folder))
    assert (told.parts, again.reused) == ([], 1 + 1 + 3)
    assert again == Evaluated(folder=first.folder, results=first.results, reused=5)
    more = measured(corrupt=str(folder), pgd="published")
    assert told.parts == ["pgd-published"]
    assert more.results.attacked is not None
    assert more.folder != first.folder


@pytest.mark.slow
def test_parts_of_anything_else_are_measured_again(
    measured: Callable[..., Evaluated], run: Path, pictures: Any, told: Told, tmp_path: Path
) -> None:
    folder = striped.write_c(tmp_path / "C", *pictures, "fog")
    asked: dict[str, Any] = {"corrupt": str(folder), "out": tmp_path / "out"}
    measured(**asked)
    for other in ({"limit": 8}, {"seed": 1}, {"precision": "bfloat16"}):
        assert measured(**asked | other).reused == 0
    files = sorted((tmp_path / "out/parts").glob("C-fog-*"))
    for file in files:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"of": 1}))
    assert files
    assert measured(**asked).reused == 4
    time.sleep(0.02)
    striped.write_c(tmp_path / "D", 255 - pictures[0], pictures[1], "fog")
    (tmp_path / "D/fog.npy").rename(folder / "fog.npy")
    assert measured(**asked).reused == 4
    striped.write_run(run, {name: value + 0 for name, value in striped.guess().items()}, seed=1)
    assert measured(**asked).reused == 0


def test_pictures_that_were_replaced_are_looked_at_again(
    measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path
) -> None:
    """In files of the same names and sizes."""
    images, labels = pictures
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "R" / striped.CLASSES[label] / f"{number:03d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    before = measured(rendition=tmp_path / "R").results
    assert measured(rendition=tmp_path / "R").reused == 5
    for path in (tmp_path / "R").rglob("*.bmp"):
        status = path.stat()
        path.write_bytes(path.read_bytes()[:-30] + bytes(30))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    again = measured(rendition=tmp_path / "R")
    assert (again.reused, again.results.seen["rendition"] != before.seen["rendition"]) == (4, True)


def test_what_was_seen_is_known_by_its_pixels_and_labels_alone(
    measured: Callable[..., Evaluated], run: Path, pictures: Any, tmp_path: Path
) -> None:
    images, labels = pictures
    seen = [measured(on=striped.write_list(tmp_path / name, images, labels)).results.seen for name in "ab"]
    assert seen[0] == seen[1]
    for other in ((255 - images, labels), (images, (labels + 1) % 4)):
        folder = tmp_path / f"other{other[0][0, 0, 0, 0]}"
        assert measured(on=striped.write_list(folder, *other)).results.seen["clean"] != seen[0]["clean"]
    folder = striped.write_c(tmp_path / "C", images, labels, "fog")
    one, other = (measured(corrupt=str(folder), batch_size=size).results.seen["C-fog"] for size in (7, 256))
    assert one == other


def test_renditions_of_one_class_are_refused(measured: Callable[..., Evaluated], pictures: Any, tmp_path: Path) -> None:
    images, _ = pictures
    with pytest.raises(UsageError, match="of one class only"):
        measured(rendition=striped.write_folder(tmp_path / "R", images, np.full(len(images), 2)))


def test_a_limit_that_leaves_nothing_out_is_none(measured: Callable[..., Evaluated]) -> None:
    assert measured(limit=COUNT - 1).results.limit == COUNT - 1
    assert measured(limit=COUNT).results.limit is None
    assert summary(measured(limit=COUNT).results)["clean_error"] is not None


def test_sets_that_were_extracted_in_part_are_named(
    measured: Callable[..., Evaluated], pictures: Any, told: Told, tmp_path: Path
) -> None:
    for severity in SEVERITIES:
        striped.write_folder(tmp_path / "C/fog" / str(severity), *pictures)
    lost = sorted((tmp_path / "C/fog/5").rglob("*.png"))[:7]
    for path in lost:
        path.unlink()
    found = measured(corrupt=str(tmp_path / "C")).results
    line = f"C: 7 of {COUNT} pictures of fog, severity 5"
    assert line in found.missing
    assert f"missing: {line}" in told.messages
    assert "some sets cut short" in variant_of(found, "mce")


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(mixbake: Any, run: Path, source: str) -> None:
    arguments = ("eval", run, "--on", source, "--corrupt", "generated", "--limit", 10, "--device", "cpu", "--json")
    process = mixbake.start(*arguments)
    while len(list(run.glob("eval/parts/[!.]*.json"))) < 10:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(run.glob("eval/*/results.json"))
    before = {path: path.stat().st_mtime_ns for path in run.glob("eval/parts/[!.]*.json")}
    (run / "eval/parts/.tmp-1-0123456789abcdef-x").touch()
    done = mixbake(*arguments)
    assert done.code == 0, done.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    resumed = json.loads(done.out)
    fresh = json.loads(mixbake(*arguments, "--out", run.parent / "fresh").out)
    assert not list((run / "eval/parts").glob(".tmp*"))
    for name in ("clean", "corruptions", "anomalies", "summary"):
        assert resumed[name] == fresh[name], name


# ── Refusals ──────────────────────────────────────────────────────────────────────────────────────


def test_answers_that_are_not_finite_are_counted_and_nothing_is_written(
    measured: Callable[..., Evaluated], tmp_path: Path
) -> None:
    weights = striped.guess() | {"head.bias": torch.tensor([0.0, float("nan"), 0.0, 0.0])}
    run = striped.write_run(tmp_path / "nan", weights)
    with pytest.raises(Damage, match=rf"{run}.*logits of {COUNT} of {COUNT} pictures of clean are not finite"):
        measured(network=run)
    assert not list(run.glob("eval/**/*.json"))


def test_classes_that_do_not_fit_are_refused(
    measured: Callable[..., Evaluated], pictures: Any, source: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"classes that the network has not \(disc, ring, triangle and 7 more\)"):
        measured(on="demo:count=20,size=16")
    images, labels = pictures
    high = striped.write_c(tmp_path / "high", images, labels + 1, "fog")
    with pytest.raises(UsageError, match="labels 1 to 4, and the network 4 classes"):
        measured(corrupt=str(high))
    other = striped.write_c(tmp_path / "other", images, labels[::-1].copy(), "fog")
    with pytest.raises(UsageError, match="which classes of the network these are cannot be told"):
        measured(corrupt=str(other))
    few = striped.write_c(tmp_path / "few", images, labels // 2, "fog")
    with pytest.raises(UsageError, match="labels of 2 classes only, and the network 4"):
        measured(corrupt=str(few))
    run = striped.write_run(tmp_path / "cifar", classes=["airplane", *"bcd"])
    with pytest.raises(UsageError, match="classes that the network has not"):
        measured(network=run)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["absent"], 2, "there is no absent"),
        (["."], 2, "holds no last.safetensors"),
        (["RUN", "--on", "absent"], 2, "absent': give an image folder"),
        (["RUN", "--corrupt", "absent"], 2, "there is no folder absent"),
        (["RUN", "--corrupt", "."], 2, "holds none of the 15 corruptions"),
        (["RUN", "--corrupt-bar", "."], 2, "holds none of the 10 corruptions"),
        (["RUN", "--perturb", "."], 2, "holds none of the 10 perturbations"),
        (["RUN", "--anomaly", "."], 2, "holds no pictures"),
        (["RUN", "--rendition", "absent"], 2, "check --rendition"),
        (["RUN", "--pgd", "strong"], 2, "exact or published"),
        (["RUN", "--precision", "float16"], 2, "float32 or bfloat16"),
        (["RUN", "--limit", "1"], 2, "--limit must be at least 2"),
        (["RUN", "--size", "32"], 2, "go with --model"),
        (["RUN", "--model", "wrn10_1"], 2, "leave --model out"),
        (["RUN", "--model", "wrn10_1", "--std", "nan", "1", "1"], 2, "three finite numbers are wanted"),
        (["RUN", "--model", "wrn10_1", "--mean", "0", "inf", "0"], 2, "three finite numbers are wanted"),
        (["RUN", "--model", "wrn10_1", "--std", "1", "0", "1"], 2, "standard deviations are above 0"),
        (["RUN", "--model", "wrn10_1", "--size", "1000000000"], 2, "--size must be at most 2048"),
        (["RUN", "--device", "tpu"], 2, "no device 'tpu'"),
        (["RUN/spoilt.safetensors"], 2, "does not say which network it is of"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_words(
    flags: list[str],
    code: int,
    words: str,
    run: Path,
    source: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (run / "spoilt.safetensors").write_bytes(b"spoilt")
    on = [] if "--on" in flags else ["--on", source]
    assert command(["eval", *(flag.replace("RUN", str(run)) for flag in flags), *on]) == code
    assert words in capsys.readouterr().err


def test_the_command_prints_the_papers_numbers(
    run: Path, source: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ["eval", str(run), "--on", source, "--limit", "12", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert command(flags) == 0
    told = capsys.readouterr().out
    assert "at most 12 pictures of each set" in told
    assert "Clean error" in told
    assert command([*flags, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["folder"] == str(tmp_path / "out")
    assert f"{100 * value['clean']['error']:.1f} %" in told
