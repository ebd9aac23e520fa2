"""A training of a linear network, as `mixbake train` runs it otherwise: linear_run.py BAKE OUT."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from mixbake.train.loop import Progress, fit
from mixbake.train.ranks import joined
from mixbake.train.run import Silence, open_loader, prepare
from mixbake.train.settings import TrainSettings

SETTINGS = TrainSettings(model="wrn10_1", epochs=3, batch_size=10, lr=0.01, device="cpu", log_every=4, mix="none")


def main(shards: str, out: Path) -> None:
    """Put the linear network in the place of the convolutional one."""
    with joined("cpu", batch_size=SETTINGS.batch_size) as ranks:
        loader = open_loader(shards, SETTINGS, ranks)
        parts = prepare(SETTINGS, ranks, loader, Silence())
        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        if ranks.first:
            out.mkdir()
        fit(replace(parts, network=network, model=ranks.wrap(network), optimizer=optimizer, run=out), Progress())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
