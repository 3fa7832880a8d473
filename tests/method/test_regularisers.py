"""Terms of the features: against their formulas, what they are least for, and in a training."""

from __future__ import annotations

import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from mscon.errors import RecipeError
from mscon.method.objectives.supcon import SupCon
from mscon.method.regularisers import FeatureRegulariser, of_this_process, sigreg, vicreg
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.equal import Equal
from mscon.model.encoder import Encoder
from mscon.model.heads.identity import Identity
from mscon.model.model import Model
from mscon.run import recipe as recipes
from mscon.train.assembly import method_of
from mscon.train.gather import InBatch
from mscon.train.grad_cache import cached_backward
from mscon.train.module import TrainingModule

F64 = torch.float64


def drawn(rows: int = 9, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, dtype=F64, generator=torch.Generator().manual_seed(seed))


def directions(width: int = 4, number: int = 5) -> Tensor:
    drawn_directions = drawn(width, number, seed=1)
    return drawn_directions / drawn_directions.norm(dim=0)


def vicreg_loops(x: Tensor) -> float:
    rows, width = x.shape
    means = [sum(float(x[n, f]) for n in range(rows)) / rows for f in range(width)]
    total = 0.0
    for f in range(width):
        for g in range(width):
            c = sum((float(x[n, f]) - means[f]) * (float(x[n, g]) - means[g]) for n in range(rows)) / rows
            total += max(0.0, 1 - math.sqrt(c + 1e-4)) / width if f == g else c**2 / (25 * width)
    return total


def sigreg_loops(x: Tensor, along: Tensor) -> float:
    values = []
    for direction in along.T:
        projected = [float(row @ direction) for row in x]
        heights = []
        for k in range(17):
            t = -5 + 10 * k / 16
            real = sum(math.cos(t * p) for p in projected) / len(projected)
            imaginary = sum(math.sin(t * p) for p in projected) / len(projected)
            normal = math.exp(-t * t / 2)
            heights.append(((real - normal) ** 2 + imaginary**2) * normal)
        values.append(sum((a + b) / 2 * 10 / 16 for a, b in itertools.pairwise(heights)))
    return sum(values) / len(values)


def test_they_are_their_formulas():
    x = 0.5 * drawn()
    assert vicreg(x).item() == pytest.approx(vicreg_loops(x))
    assert sigreg(x, directions()).item() == pytest.approx(sigreg_loops(x, directions()))


def test_gradients_are_those_of_finite_differences():
    x = (0.5 * drawn()).requires_grad_()
    assert torch.autograd.gradcheck(vicreg, (x,))
    assert torch.autograd.gradcheck(lambda v: sigreg(v, directions()), (x,))


def test_features_that_are_spread_in_all_directions_have_the_least():
    collapsed, line, even = torch.ones(400, 4, dtype=F64), drawn(400, 1).expand(-1, 4), drawn(400)
    assert vicreg(collapsed).item() == pytest.approx(0.99)
    assert vicreg(even) < vicreg(line) < vicreg(collapsed)
    assert sigreg(even, directions()) < sigreg(line, directions()) < sigreg(collapsed, directions())
    assert sigreg(even, directions()) < 0.01


@pytest.mark.parametrize("sizes", [(4, 4, 4), (7, 3, 2)])
@pytest.mark.parametrize("term", [vicreg, lambda features, mean: sigreg(features, directions(), mean)])
def test_processes_with_any_number_of_rows_each_say_the_same(term, sizes):
    """Threads in the place of processes: each mean waits for the others, as `CandidateSource.mean` does."""
    x = 0.5 * drawn(12)
    barrier, exchanged = threading.Barrier(len(sizes)), [torch.empty(0)] * len(sizes)

    def of_process(number: int, features: Tensor) -> float:
        def mean(values: Tensor) -> Tensor:
            exchanged[number] = values
            barrier.wait()
            everywhere = torch.cat(exchanged).mean(dim=0)
            barrier.wait()
            return everywhere

        return term(features, mean).item()

    with ThreadPoolExecutor(len(sizes)) as threads:
        values = [*threads.map(of_process, range(len(sizes)), x.split(sizes))]
    assert values == pytest.approx([term(x, of_this_process).item()] * len(sizes))


def module(regulariser: FeatureRegulariser | None) -> TrainingModule:
    torch.manual_seed(0)
    encoder = Encoder(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), 6, [0.0] * 3, [1.0] * 3)
    model = Model(encoder, Identity(1, 6))
    return TrainingModule(model, SupCon(), Equal(1), InBatch(), (Categorical("a", ("x", "y")),), regulariser).double()


def test_a_step_adds_them_to_its_total_also_in_mini_batches():
    inputs, codes = torch.rand(8, 3, 2, 2, dtype=F64), torch.arange(8) % 2
    plain, regular = module(None), module(FeatureRegulariser(2.0, 3.0))
    arguments = inputs, [codes], torch.arange(8), [lambda x: x, lambda x: x + 0.1]
    total = regular(*arguments).total
    features = regular.model.encoder(torch.cat([inputs, inputs + 0.1]))
    generator = torch.Generator().manual_seed(0)
    along = torch.randn(6, 64, generator=generator)
    expected = 2 * vicreg(features) + 3 * sigreg(features, (along / along.norm(dim=0)).double())
    torch.testing.assert_close(total, plain(*arguments).total + expected)
    total.backward()
    cached = module(FeatureRegulariser(2.0, 3.0))
    cached_backward(cached, *arguments[:3], make_views=arguments[3], mini_batch_size=3)
    for one, other in zip(regular.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_directions_are_others_in_each_step_and_the_same_when_training_goes_on():
    x, one = drawn(), FeatureRegulariser(0.0, 1.0)
    values = [one(x).item() for _ in range(3)]
    assert len(set(values)) == 3
    other = FeatureRegulariser(0.0, 1.0)
    other(x)
    resumed = FeatureRegulariser(0.0, 1.0)
    resumed.load_state_dict(other.state_dict())
    assert [resumed(x).item() for _ in range(2)] == values[1:]
    resumed.eval()
    assert resumed(x).item() == resumed(x).item()


RECIPE = '[[similarity]]\ncolumn = "a"\nname = "categorical"\n[data]\ninput = "image"\n'


def test_a_recipe_has_them_off_and_says_where_they_would_do_nothing():
    similarities = [Categorical("a", ("x", "y"))]
    assert method_of(recipes.parse(RECIPE), similarities).regulariser is None
    on = method_of(recipes.parse(RECIPE, ["train.vicreg=25"]), similarities).regulariser
    assert on is not None
    assert (on.vicreg, on.sigreg) == (25, 0)
    with pytest.raises(RecipeError, match="vicreg and sigreg are terms of the features, but the encoder does not"):
        method_of(recipes.parse(RECIPE, ["train.sigreg=1", "encoder.frozen=true"]), similarities)
