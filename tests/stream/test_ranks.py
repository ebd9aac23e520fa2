"""Ranks as real processes: equal numbers of batches, every image once between them, whatever the world is."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE
from small import bake, copied

from mixbake.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
dist = pytest.importorskip("torch.distributed")

from mixbake.stream.loader import ShardLoader  # noqa: E402 - torch must be there

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

TRAIN = """
import json, os, sys
import torch
import torch.distributed as dist
from mixbake.stream import ShardLoader
dist.init_process_group("gloo")
loader = ShardLoader(sys.argv[1], batch_size=40, drop_last=sys.argv[2] == "drop", seed=3)
passes = []
for _ in range(3):
    ids, steps = [], 0
    for batch in loader:
        steps += 1
        ids += batch.ids[batch.valid].tolist()
        seen = torch.tensor([len(batch), int(batch.numbers.min()), -int(batch.numbers.max())])
        dist.all_reduce(seen[:1])
        assert seen[0] == 40, "a batch is shared by all"
    counts = torch.tensor([steps, len(ids)])
    dist.all_reduce(counts)
    passes.append({"steps": steps, "all": counts.tolist(), "ids": ids})
print(json.dumps({"rank": loader.rank, "world": loader.world_size, "passes": passes, "state": loader.state_dict()}))
loader.close()
dist.destroy_process_group()
"""

FOLLOW = """
import json, os, sys
from pathlib import Path
import torch.distributed as dist
from mixbake.stream import ShardLoader
dist.init_process_group("gloo")
loader = ShardLoader(sys.argv[1], batch_size=20, follow=True)
numbers = []
for p in range(5):
    if p == 2:
        dist.barrier()
        if loader.rank == 0:
            os.replace(Path(sys.argv[1]) / "later.json", Path(sys.argv[1]) / "bake.json")
    numbers.append(sorted({n for batch in loader for n in batch.numbers.tolist()}))
print(json.dumps({"rank": loader.rank, "numbers": numbers, "eras": loader.state_dict()["eras"]}))
loader.close()
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def ranks(code: str, world: int, *arguments: object) -> list[dict[str, Any]]:
    """Run a program once a rank, with the environment that torchrun makes; what each printed."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    try:
        told = [process.communicate(timeout=PATIENCE) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * world, [err for _, err in told]
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "ending"),
    [
        (2, "pad"),
        (2, "drop"),
        (4, "pad"),
        (4, "drop"),
    ],
)
def test_ranks_share_a_bake(wide_bake: Path, world: int, ending: str) -> None:
    found = ranks(TRAIN, world, wide_bake, ending)
    assert [(one["rank"], one["world"]) for one in found] == [(rank, world) for rank in range(world)]
    assert all(one["state"] == found[0]["state"] for one in found)
    steps, images = (11, 440) if ending == "drop" else (12, 450)
    for p in range(3):
        shares = [one["passes"][p] for one in found]
        assert [share["steps"] for share in shares] == [steps] * world
        assert {tuple(share["all"]) for share in shares} == {(steps * world, images)}
        counts = Counter(image for share in shares for image in share["ids"])
        assert len(counts) == images
        assert set(counts.values()) == {1}
        assert all(image < 450 for image in counts)


@pytest.mark.slow
def test_ranks_follow_a_bake_together(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    out = tmp_path / "out"
    bake(image_folder, out, picture_folder)
    first = (out / "bake.json").read_bytes()
    bake(image_folder, out, picture_folder, epochs_worth=2)
    (out / "bake.json").rename(out / "later.json")
    (out / "bake.json").write_bytes(first)
    found = ranks(FOLLOW, 2, out)
    assert found[0]["numbers"] == found[1]["numbers"]
    assert found[0]["eras"] == found[1]["eras"] == [[0, 1], [2, 2]]
    assert found[0]["numbers"] == [[0], [0], [0], [1], [0]]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_the_environment_tells_rank_and_world(jsd_bake: Path, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    alone = [batch.ids.tolist() for batch in ShardLoader(jsd_bake, batch_size=8)]
    monkeypatch.setenv("WORLD_SIZE", str(world))
    shares = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        loader = ShardLoader(jsd_bake, batch_size=8)
        assert (loader.rank, loader.world_size, len(loader)) == (rank, world, 5)
        shares.append([batch.ids.tolist() for batch in loader])
    together = [[image for share in step for image in share] for step in zip(*shares, strict=True)]
    assert together == alone


def test_what_is_given_comes_before_the_environment(mix_bake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    loader = ShardLoader(mix_bake, batch_size=8, rank=1, world_size=2)
    assert (loader.rank, loader.world_size) == (1, 2)


@pytest.mark.parametrize(("name", "value"), [("RANK", "first"), ("WORLD_SIZE", "many"), ("WORLD_SIZE", "0")])
def test_an_environment_that_makes_no_sense_is_refused(
    mix_bake: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name if value != "0" else "world_size"):
        ShardLoader(mix_bake, batch_size=8)


def test_padding_is_shared_too(mix_bake: Path) -> None:
    shares = [list(ShardLoader(mix_bake, batch_size=12, drop_last=False, rank=rank, world_size=4)) for rank in range(4)]
    assert {len(share) for share in shares} == {4}
    assert {len(batch) for share in shares for batch in share} == {3}
    valid = [image for share in shares for batch in share for image in batch.ids[batch.valid].tolist()]
    assert sorted(valid) == list(range(40))


def test_another_machine_may_have_a_copy(mix_bake: Path, tmp_path: Path) -> None:
    own = copied(mix_bake, tmp_path / "elsewhere")
    one, other = ShardLoader(mix_bake, batch_size=8), ShardLoader(own, batch_size=8)
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))
