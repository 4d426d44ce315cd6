"""Labelled samples as a task, against torch's losses of one net at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from altprop.evolution.champion import Alone
from altprop.limits import Problem
from altprop.searches import GA
from altprop.tasks import Supervised

X = torch.rand(12, 1, 2, 3)
LABELS, TARGETS = torch.arange(12) % 4, torch.rand(12, 4)
NET = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
LOSSES = {
    "cross_entropy": (LABELS, functional.cross_entropy),
    "mse": (TARGETS, lambda z, t: (z - t).square().sum(1).mean() / 2),
    "binary_cross_entropy": (
        TARGETS.round(), lambda z, t: functional.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1).mean()
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@torch.no_grad()
def test_fitness_is_less_the_mean_loss_of_each_net(loss):
    y, wanted = LOSSES[loss]
    search = GA(NET, example=X[:1], size=5)
    population = search.ask()
    f = Supervised(X, y, 4, loss=loss).fitness(population, torch.Generator())
    nets = [search.genome.individual(vector) for vector in population.genomes]
    torch.testing.assert_close(f, torch.stack([-wanted(net(X), y) for net in nets]))


@torch.no_grad()
def test_batch_is_drawn_once_for_all():
    task = Supervised(X, LABELS, 4, batch=5)
    drawn = torch.randperm(12, generator=torch.Generator().manual_seed(3))[:5]
    f = task.fitness(GA(NET, example=X[:1], size=2, sigma=0.1).ask(), torch.Generator().manual_seed(3))
    assert float(f[0]) == pytest.approx(-float(functional.cross_entropy(NET(X[drawn]), LABELS[drawn])))
    whole = Supervised(X, LABELS, 4, batch=12)
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    whole.fitness(Alone(NET, 3), generator)
    assert torch.equal(before, generator.get_state())


@torch.no_grad()
def test_told_is_loss_and_share_of_right_answers():
    told = Supervised(X, LABELS, 4).told(Alone(NET, 3))
    assert told["accuracy"] == float((NET(X).argmax(1) == LABELS).double().mean())
    assert told["loss"] == pytest.approx(float(functional.cross_entropy(NET(X), LABELS)))
    assert Supervised(X, TARGETS, 4, loss="mse").told(Alone(NET, 3)).keys() == {"loss"}


def test_flat_samples_and_unknown_losses():
    assert Supervised(X, LABELS, 4, flat=True).inputs == (6,) and Supervised(X, LABELS, 4).inputs == (1, 2, 3)
    with pytest.raises(Problem, match="loss='cross' came; did you mean 'cross_entropy'"):
        Supervised(X, LABELS, 4, loss="cross")
