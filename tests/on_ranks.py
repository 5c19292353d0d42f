"""Calls of test_ranks.py on several ranks, in a module that their processes can import."""

from multiprocessing import get_context

import numpy as np
import pytest
import torch
from specs import train_spec
from torch.multiprocessing.spawn import start_processes

from cabench.diffusion import ranks as module
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load_ema
from cabench.diffusion.loop import train
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import joined
from cabench.diffusion.sampling import sample
from cabench.diffusion.training import Diverged, Trainer
from cabench.errors import CabenchError
from cabench.execution import joint

STEPS = 200


def on_ranks(count, folder, function, *arguments):
    """Calls `function(ranks, *arguments)` on each of `count` ranks.

    They are forks of a process that imports libraries once; in this one autograd may have run.
    """
    get_context("forkserver").set_forkserver_preload([train.__module__, "cabench.data", "pytest"])
    rendezvous = folder / f"rendezvous-{function.__name__}-{count}"
    start_processes(
        _rank, (count, rendezvous, function, arguments), count, start_method="forkserver"
    )


def _rank(rank, count, rendezvous, function, arguments):
    torch.set_num_threads(1)
    with joined(rank, count, "cpu", rendezvous=rendezvous) as ranks:
        function(ranks, *arguments)


def losses_of(trainer, digits, steps):
    data = Data(digits.split("generator-train"), ("label",))
    order = Order(len(data), trainer.recipe.batch, trainer.spec.seed)
    return torch.stack([trainer.step(data, order) for _ in range(steps)])


def train_some(ranks, specs, digits, folder):
    for name, one, passes in specs:
        trainer = Trainer(one, passes=passes, ranks=ranks)
        trainer.share()
        losses = ranks.sum(losses_of(trainer, digits, STEPS if name == "can" else 5))
        if ranks.leads:
            torch.save([losses, trainer.state()], folder / f"{name}-{ranks.count}")


def run(ranks, one, images, digits, folder):
    train(one, images, digits, folder, snapshot_every=64, ranks=ranks)


def draw(ranks, one, snapshot, path, batch=20):
    images = sample(
        load_ema(one.model, snapshot), Process("flow", "linear"),
        lambda index: {"label": index % 10}, 50, (1, 8, 8), seed=3, steps=4, batch=batch,
        guidance=2.0, ranks=ranks,
    )  # fmt: skip
    if ranks.leads:
        np.save(path, images.numpy())


def fail_together(ranks, one, digits, folder, path):
    """Calls that fail on all ranks, then on one, before one that succeeds."""
    diverging = train_spec(one.model, lr=1e30)
    if not ranks.leads:
        return ranks.follow()
    texts = []
    for function, arguments, kind in (
        (run, (diverging, 64, digits, folder), Diverged),
        (fail_on_the_last, (), CabenchError),
    ):
        with pytest.raises(kind) as raised:
            ranks.call(function, *arguments)
        texts.append(str(raised.value))
    ranks.call(draw, one, path, folder / "drawn.npy")
    (folder / "texts").write_text("\n".join(texts))
    ranks.dismiss()


def fail_on_the_last(ranks):
    if ranks.rank == ranks.count - 1:
        raise CabenchError("no data here")


def extract(ranks, names, cache, images, path):
    """Features of images by all ranks; then calls in which one of them cannot compute them."""
    module.CHUNK = 1000  # bytes: several messages
    if not ranks.leads:
        return ranks.follow()

    def features(images):
        return ranks.call(joint.features, names, cache, "cpu", images=images)

    expected = features(images)
    np.savez(path, **{f"{name} {k}": v for name, of in expected.items() for k, v in of.items()})
    images = np.concatenate([images] * ranks.count)  # so that every rank has some
    for rank, error in ((1, CabenchError("no weights")), (1, ValueError("x")), (0, KeyError("y"))):
        own = ranks.call(lose_the_network, rank, error)
        with pytest.raises(CabenchError) as raised:
            features(images)
        text = str(raised.value)
        named = "no weights" if rank and isinstance(error, CabenchError) else type(error).__name__
        assert text.startswith(f"rank 1: {named}" if rank else named), text
        assert not ranks.broken
        ranks.call(find_the_network)
        assert features(images).keys() == expected.keys(), own
    ranks.dismiss()


def lose_the_network(ranks, rank, error):
    def extractor(*_):
        raise error

    if ranks.rank == rank:
        joint.ASSETS.extractor = extractor


def find_the_network(ranks):
    vars(joint.ASSETS).pop("extractor", None)
