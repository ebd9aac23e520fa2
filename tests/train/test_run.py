"""What a run does with a bake, what it records, and what it refuses before the first step."""

import csv
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixbake.errors import Damage, MixbakeError, UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.train.checkpoint import read_about
from mixbake.train.records import COLUMNS
from mixbake.train.settings import FREE, RECIPES, TrainSettings, plain, resolve, settings_of


def metrics(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


class TestRecords:
    def test_one_epoch_is_one_variant_of_every_image(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        done = trained(tiny_bake, epochs=7)
        epochs = metrics(tmp_path / "run", "epoch")
        assert [line["step"] for line in epochs] == [4 * (epoch + 1) for epoch in range(7)]
        assert [line["epochs_worth"] for line in epochs] == [0, 1, 2, 0, 1, 2, 0]
        assert [line["use"] for line in epochs] == [1, 1, 1, 2, 2, 2, 3]
        assert done.steps == 28

    def test_the_table_has_the_epochs(self, trained: Any, tiny_bake: Path, tiny_images: Path, tmp_path: Path) -> None:
        trained(tiny_bake, val=str(tiny_images), val_every=2)
        rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
        assert tuple(rows[0]) == COLUMNS
        epochs = metrics(tmp_path / "run", "epoch")
        assert [float(row["loss"]) for row in rows] == [line["loss"] for line in epochs]
        assert [row["accuracy"] != "" for row in rows] == [False, True, True]

    def test_an_epochs_loss_is_the_mean_of_its_intervals(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        done = trained(tiny_bake, epochs=1, log_every=3)
        first, second = metrics(tmp_path / "run", "interval")
        assert (first["step"], second["step"]) == (3, 4)
        [epoch] = metrics(tmp_path / "run", "epoch")
        assert math.isclose(epoch["loss"], (3 * first["loss"] + second["loss"]) / 4)
        assert done.loss == epoch["loss"]

    def test_settings_and_environment_are_kept(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        done = trained(tiny_bake, epochs=1)
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        assert config["recipe"] == "cifar"
        assert plain(settings_of(config["settings"], origin="config")) == config["settings"]
        [start] = json.loads((tmp_path / "run" / "env.json").read_text())
        bake = Bake.open(LocalShelf(tiny_bake))
        assert start["bake"]["digest"] == bake.digest == done.bake
        assert start["bake"]["recipe"]["name"] == "layermix-cifar"
        assert start["bake"]["mixing"] == bake.plan.mixing
        assert start["versions"]["torch"] == torch.__version__

    def test_weights_say_all_that_decided_them(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        """Else a comparison would take runs of other settings for further seeds."""
        trained(tiny_bake, epochs=1, mix="cutmix", threads=1)
        about = read_about(tmp_path / "run" / "last.safetensors")
        settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
        assert about["training"] == {name: value for name, value in settings.items() if name not in {*FREE, "seed"}}
        assert (about["training"]["mix"], about["seed"]) == ("cutmix", settings["seed"])
        bake = Bake.open(LocalShelf(tiny_bake))
        assert about["baking"]["recipe"] == bake.plan.recipe
        assert about["baking"]["mixing"] == bake.plan.mixing
        assert about["baking"]["epochs_worth"] == bake.epochs_worth

    def test_uses_beyond_the_limit_are_warned_of(self, trained: Any, tiny_bake: Path, told: Any) -> None:
        trained(tiny_bake, epochs=4, max_uses=2)
        assert not [message for message in told.messages if message.startswith("warning")]
        trained(tiny_bake, out="other", epochs=4, max_uses=1)
        [warning] = [message for message in told.messages if message.startswith("warning")]
        assert "2 uses" in warning
        assert "--epochs-worth 4" in warning

    def test_tensorboard_gets_the_metrics(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        trained(tiny_bake, epochs=1, tensorboard=True)
        read = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
        read.Reload()
        assert [round(event.value, 4) for event in read.Scalars("epoch/loss")] == [
            round(line["loss"], 4) for line in metrics(tmp_path / "run", "epoch")
        ]


class TestTraining:
    def test_the_seed_fixes_the_weights(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        for out, seed in (("a", 1), ("b", 1), ("c", 2)):
            trained(tiny_bake, out=out, epochs=1, seed=seed)
        a, b, c = ((tmp_path / out / "last.safetensors").read_bytes() for out in "abc")
        assert a == b != c

    def test_a_network_learns_what_it_sees(self, trained: Any, tiny_bake: Path) -> None:
        first = trained(tiny_bake, out="first", epochs=1, dropout=0.0)
        last = trained(tiny_bake, out="last", epochs=12, dropout=0.0)
        assert last.loss < 0.9 * first.loss

    @pytest.mark.parametrize(
        ("views", "given"),
        [
            ("jsd", {"loss": "jsd"}),
            ("jsd", {"clean_fraction": 0.5}),
            ("mix", {"mix": "mixup", "label_smoothing": 0.1}),
            ("mix", {"mix": "erasing", "class_weights": True}),
            ("mix", {"precision": "bfloat16", "schedule": "steps", "warmup_epochs": 0}),
            ("mix", {"channels_last": False, "nesterov": False, "momentum": 0.0}),
            ("mix", {"resident": "always"}),
            pytest.param("mix", {"compile": True}, marks=pytest.mark.slow),
        ],
        ids=lambda value: value if isinstance(value, str) else "-".join(value),
    )
    def test_every_way_of_training_ends_with_finite_weights(
        self, trained: Any, tiny_bakes: Callable[[str], Path], tmp_path: Path, views: str, given: dict[str, Any]
    ) -> None:
        from safetensors.torch import load_file

        done = trained(tiny_bakes(views), **given)
        assert math.isfinite(done.loss)
        assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "run" / "last.safetensors").values())

    def test_weights_are_a_start(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        trained(tiny_bake, epochs=1)
        start = tmp_path / "run" / "last.safetensors"
        again = trained(tiny_bake, out="again", epochs=1, weights=start, lr=1e-12, final_lr=0.0, dropout=0.0)
        fresh = trained(tiny_bake, out="fresh", epochs=1, lr=1e-12, final_lr=0.0, dropout=0.0)
        assert again.loss < fresh.loss


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"loss": "jsd"}, "--views jsd"),
            ({"clean_fraction": 0.5}, "--views clean or jsd"),
            ({"batch_size": 41}, "smaller --batch-size"),
            ({"model": "wrn41_4"}, "wrn41_4"),
            ({"model": "wrn40_5x"}, "wrn40_5x"),
            ({"device": "cuda:7"}, "GPU"),
            ({"device": "tpu"}, "tpu"),
            ({"val": "nowhere"}, "nowhere"),
            ({"val": "demo:count=20,size=16"}, "classes that the bake has not"),
            ({"weights": Path("nothing.safetensors")}, "nothing.safetensors"),
            ({"schedule": "steps", "epochs": 2}, "3 epochs"),
        ],
        ids=lambda value: "" if isinstance(value, str) else "-".join(map(str, value)),
    )
    def test_what_cannot_work_is_refused_before_a_folder_is_made(
        self, trained: Any, tiny_bake: Path, tmp_path: Path, given: dict[str, Any], said: str
    ) -> None:
        if given.get("device", "").startswith("cuda") and torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(UsageError, match=said):
            trained(tiny_bake, **given)
        assert not (tmp_path / "run").exists()

    def test_an_unfinished_bake(self, trained: Any, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="no finished bake"):
            trained(tmp_path / "empty")

    @pytest.mark.slow
    def test_needs_no_torch(self, python: Callable[..., Any], tiny_bake: Path, tmp_path: Path) -> None:
        code = "import sys; from mixbake import cli; print(cli.run(sys.argv[1:]), 'torch' in sys.modules)"
        for arguments in (("train", tmp_path / "nowhere"), ("train", tiny_bake, "--batch-size", "41")):
            assert python(code, *arguments).out.split() == ["2", "False"]

    def test_a_damaged_bake(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        from small import copied

        bake = copied(tiny_bake, tmp_path / "damaged")
        shard = next((bake / "mix" / "v001").glob("*.tar"))
        shard.write_bytes(shard.read_bytes()[:-512])
        with pytest.raises(Damage, match=r"mix/v001/"):
            trained(bake)

    def test_weights_for_other_classes(
        self, trained: Any, tiny_bake: Path, tmp_path: Path, write_images: Callable[..., Path], picture_folder: Path
    ) -> None:
        from small import bake

        trained(tiny_bake, epochs=1)
        start = tmp_path / "run" / "last.safetensors"
        images = write_images(tmp_path / "images", 20, size=16)
        (images / "cedar").rename(images / "oak")
        bake(images, tmp_path / "other", picture_folder)
        with pytest.raises(UsageError, match="'cedar'"):
            trained(tmp_path / "other", out="refused", weights=start)
        trained(tmp_path / "other", out="accepted", epochs=1, weights=start, new_head=True)

    def test_a_loss_that_is_no_number(self, trained: Any, tiny_bake: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        with pytest.raises(MixbakeError, match=r"became (nan|inf).* --lr.* is from before"):
            trained(tiny_bake, epochs=30, lr=1e6, momentum=0.99, schedule="constant", save_seconds=0.0)
        stored = load_file(tmp_path / "run" / "last.safetensors")
        assert all(tensor.isfinite().all() for tensor in stored.values())

    @pytest.mark.slow
    def test_too_little_memory_names_the_batch_size(
        self, tmp_path: Path, many_images: Path, picture_folder: Path
    ) -> None:
        from small import bake

        bake(many_images, tmp_path / "bake", picture_folder)

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

        flags = ("--model", "wrn40_10", "--batch-size", "450", "--epochs", "1", "--device", "cpu")
        done = subprocess.run(
            [sys.executable, "-m", "mixbake", "train", tmp_path / "bake", "--out", tmp_path / "run", *flags],
            capture_output=True,
            text=True,
            preexec_fn=limit,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 2, done.stderr
        assert "memory does not suffice for a batch of 450" in done.stderr.splitlines()[-1]


class TestSettings:
    @pytest.mark.parametrize("name", RECIPES)
    def test_every_recipe_stands(self, name: str) -> None:
        settings = resolve(name, given={"from_scratch": True} if RECIPES[name].fine_tunes else {})
        assert all(getattr(settings, key) == value for key, value in RECIPES[name].values.items())

    def test_flags_win_over_the_file_and_the_file_over_the_recipe(self, tmp_path: Path) -> None:
        config = tmp_path / "c.toml"
        config.write_text('lr = 1\nmodel = "wrn16_1"\nstd = [0.2, 0.2, 0.2]\nval = "demo"\n')
        settings = resolve("cifar", config=config, given={"lr": 0.5})
        assert (settings.lr, settings.model, settings.std, settings.val) == (0.5, "wrn16_1", (0.2, 0.2, 0.2), "demo")
        assert settings.weight_decay == RECIPES["cifar"].values["weight_decay"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("learning_rate = 1", "no setting 'learning_rate'"),
            ("batchsize = 1", "did you mean batch_size"),
            ("epochs = 1.5", "epochs is 1.5: a whole number"),
            ("epochs = true", "epochs is True"),
            ("nesterov = 1", "nesterov is 1: true or false"),
            ("mean = [1, 2]", "three numbers"),
            ("lr = nan", "a number"),
            ("lr = 0.0", "above 0"),
            ('loss = "ce"', "loss is one of cross_entropy, jsd"),
            ("lr = ", "no TOML"),
        ],
    )
    def test_a_wrong_file_is_named(self, tmp_path: Path, text: str, said: str) -> None:
        config = tmp_path / "c.toml"
        config.write_text(text)
        with pytest.raises(UsageError, match=said):
            resolve("cifar", config=config, given={})

    def test_a_fine_tuning_recipe_wants_weights(self) -> None:
        with pytest.raises(UsageError, match="--weights"):
            resolve("imagenet", given={})

    def test_settings_survive_json(self) -> None:
        settings = TrainSettings(weights=Path("a/b"), dropout=None, std=(0.1, 0.2, 0.3))
        assert settings_of(json.loads(json.dumps(plain(settings))), origin="json") == settings


class TestCommand:
    @pytest.mark.slow
    def test_the_list_names_every_recipe_with_its_source(self, mixbake: Any) -> None:
        done = mixbake("train", "--list")
        assert done.code == 0
        for name, recipe in RECIPES.items():
            assert f"{name}: {recipe.title}" in done.out
            assert recipe.source in done.out
        assert "wrn<depth>_<width>" in done.out

    @pytest.mark.slow
    def test_a_dry_run_writes_nothing(self, mixbake: Any, tiny_bake: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        flags = ("--model", "wrn10_1", "--batch-size", 10, "--epochs", 7, "--device", "cpu")
        done = mixbake("train", tiny_bake, "--out", run, *flags, "--dry-run", "--json", OMP_NUM_THREADS="1")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert (found["steps"], found["uses"], found["steps_per_epoch"]) == (28, 3, 4)
        bake = Bake.open(LocalShelf(tiny_bake))
        stored = np.sum([file.size for _, file in bake.shards()])
        assert found["bytes_per_image"] == stored / (3 * 40)
        assert math.isclose(found["bytes_per_second"], found["images_per_second"] * found["bytes_per_image"])
        assert not run.exists()

    @pytest.mark.slow
    def test_the_result_as_json(self, mixbake: Any, tiny_bake: Path, tiny_images: Path, tmp_path: Path) -> None:
        flags = ("--model", "wrn10_1", "--batch-size", 10, "--epochs", 1, "--device", "cpu", "--val", tiny_images)
        done = mixbake("train", tiny_bake, "--out", tmp_path / "run", *flags, "--json", OMP_NUM_THREADS="1")
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert (result["steps"], result["run"]) == (4, str(tmp_path / "run"))
        assert 0 <= result["accuracy"] <= 1
