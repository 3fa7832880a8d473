"""What every objective of the catalogue keeps to, and that `check_objective` notices one that does not."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from decoupled import DCL
from mscon import Continuous, MSConLoss, MultiLabel, Ordinal, Teacher
from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.kernels.precision import no_rounding
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.objectives.supcon import SupCon, contrastive_losses
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical, same_class
from mscon.testing import check_objective


@pytest.mark.parametrize("name", [*catalogue.names("objective"), "supcon, decoupled", "decoupled:DCL"])
def test_an_objective_keeps_the_contract(name):
    torch.manual_seed(0)
    name, decoupled, _ = name.partition(", decoupled")
    settings = {"denominator": "negatives"} if decoupled else {"background": "p"} if name == "sepclr" else {}
    check_objective(catalogue.build("objective", name, settings))


def test_a_decoupled_supcon_is_the_loss_of_its_paper():
    z = torch.randn(2, 14, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    kinds, ids = (Categorical("a", ("x", "y")), Categorical("b", ("p", "q", "r"))), torch.arange(14)
    codes = [torch.arange(14) % 3 - 1, torch.arange(14) % 4 - 1]
    pairs = [LazyPairs(s.compare, c, c, ids, ids, s.is_partition) for s, c in zip(kinds, codes, strict=True)]
    one, other = (o.double()(Comparison.of(z, None, pairs)) for o in (SupCon(denominator="negatives"), DCL()))
    for field in fields(Losses):
        torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name))


_WITHOUT_ANCHORS = [
    *("amcl", "core_tuning", "dcl", "mulsupcon", "rince", "simlap"),
    *("sincere", "subspaces", "supcon", "symnce", "tau"),
]


@pytest.mark.parametrize("name", _WITHOUT_ANCHORS)
def test_a_process_may_have_no_anchors_and_candidates_still_get_their_gradient_of_zero(name):
    objective = catalogue.build("objective", name, {"sigma": 0.5} if name == "dcl" else {})
    objective.prepare([Categorical("a", ("x", "y"))], 4)
    z, codes, ids = torch.randn(1, 6, 4, requires_grad=True), torch.arange(6) % 2, torch.arange(6)
    pairs = LazyPairs(same_class, codes[:0], codes, ids[:0], ids, True, exchange=lambda n: n.new_zeros(*n.shape[:2], 6))
    losses = objective(Comparison.of(z[:, :0].detach().requires_grad_(), z, [pairs]))
    assert losses.per_anchor.shape == (1, 0)
    assert (losses.floor == 0).all() and (losses.ceiling == 0).all()
    losses.per_anchor.sum().backward()


@pytest.mark.parametrize("name", ["dcl", "rince", "symnce"])
def test_kinds_of_which_all_rows_are_a_little_alike_are_refused_by_losses_that_need_negatives(name):
    for kind in (Continuous("price", width=1.0), Ordinal("size", ("s", "m", "l")), Teacher("other")):
        words = f"objective '{name}' compares with rows .* '{kind.column}' of kind {type(kind).__name__}.*'sincere'"
        with pytest.raises(RecipeError, match=words):
            MSConLoss(["make", kind], objective={kind.column: name})
    MSConLoss(["make", MultiLabel("tags")], objective=name)


class StrangersLoss(Objective):
    """SupCon of a stranger, written out; `mistake` takes a step of it wrong."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.mistake = mistake

    def forward(self, comparison: Comparison) -> Losses:
        anchors, candidates, pairs = comparison.anchors, comparison.candidates, comparison.pairs
        with torch.enable_grad() if self.mistake == "autocast" else no_rounding(anchors):
            per_anchor = torch.stack(
                [self.one(z, z if candidates is None else candidates[i], pairs[i]) for i, z in enumerate(anchors)]
            )
        losses = contrastive_losses(per_anchor, pairs, "anchors_with_a_positive")
        if self.mistake == "counted":
            return replace(losses, counted=torch.ones_like(losses.counted))
        if self.mistake == "floor":
            return replace(losses, floor=losses.floor + 9, ceiling=losses.ceiling + 9)
        return losses

    def one(self, z: Tensor, others: Tensor, lazy: LazyPairs) -> Tensor:
        pairs, mistake = lazy.dense(), self.mistake
        is_wrong = mistake == "known" or (mistake == "graded" and not lazy.is_partition)
        known = torch.ones_like(pairs.known) if is_wrong else pairs.known
        if mistake == "float codes":
            same = lazy.anchors.float()[:, None] == lazy.candidates.float()[None, :]
            pairs = type(pairs)(same.to(pairs.weight.dtype), pairs.known)
        z, others = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (z, others))
        logits = normalize(z, dim=1) @ normalize(others, dim=1).T / 0.1
        if mistake == "order":
            logits = logits + torch.arange(len(z), dtype=z.dtype)[None, :]
        is_counted = pairs.has_positive
        masked = logits.masked_fill(~known, -torch.inf)
        if mistake != "nan":
            masked = torch.where(is_counted[:, None], masked, 0.0)
        sums = masked.logsumexp(dim=1, keepdim=True)
        log_probs = logits - (sums.detach() if mistake == "gradient" else sums)
        weight = (pairs.weight * known).to(z.dtype)
        share = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-9)
        loss = -(share * log_probs.masked_fill(~known, 0.0)).sum(dim=1)
        return loss + 1 if mistake == "zero" else torch.where(is_counted, loss, 0.0) if mistake == "nan" else loss


def test_an_objective_of_ones_own_that_is_right_passes():
    check_objective(StrangersLoss())


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("known", "not as good as absent: are pairs used that are not `known`"),
        ("zero", "loss of an anchor without a label must be exactly 0"),
        ("counted", "an anchor without a label must not be `counted`"),
        ("order", "depends on the order of the rows"),
        ("nan", "without any label makes NaN within the backward pass"),
        ("gradient", "gradient is not that of finite differences"),
        ("floor", "lie below their `floor`s"),
        ("float codes", "only which codes are equal may matter, not their size or type"),
        ("graded", "Of Continuous a row without a label is not as good as absent"),
        ("autocast", "under autocast to torch.bfloat16 losses differ by up to"),
    ],
)
def test_a_mistake_in_a_loss_is_told_in_a_sentence(mistake, words):
    with pytest.raises(AssertionError, match=f"(?i){words}"):
        check_objective(StrangersLoss(mistake))


def test_the_objective_that_is_checked_is_left_as_it_is():
    objective = catalogue.build("objective", "cross_entropy", {})
    check_objective(objective)
    assert not list(objective.parameters())
