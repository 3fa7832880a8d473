"""MEOW: candidates of other clusters weigh more in a denominator; AdaMEOW learns the weights."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from mscon.method.cores.pair_weights import Weights


def cluster_weights(
    clusters: Int[Tensor, "runs anchors"], candidate_clusters: Int[Tensor, "runs candidates"]
) -> Weights:
    """In how many of several clusterings anchor and candidate lie in different clusters: weights for `with_mean_one`.

    The own positive, of the same row, has weight 0, so that the loss is decoupled; rows that are always together do not
    repel each other.

    Source: MEOW, Yu et al. 2022, https://arxiv.org/abs/2212.13847. Its two clusterings are k-means of the features,
        with different numbers of clusters; its second term, prototypes with a temperature a cluster, is not here.
    """
    return (clusters[:, :, None] != candidate_clusters[:, None, :]).sum(dim=0).float()


class LearnedPairWeights(nn.Module):
    """Weights of pairs by a small network of the sum of their vectors: sigmoid(MLP(anchor + candidate)).

    Use its `log` in the denominator, after `with_mean_one`: without it, weights that are small everywhere make the
    loss small. Even so the loss falls where far candidates weigh more, so look at what the weights become.

    Args:
        dim: width of the vectors.
        hidden_dim: of the network, with tanh; the authors have 16.

    Source: AdaMEOW, in the same paper; normalising is ours.
    """

    def __init__(self, dim: int, hidden_dim: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, 1)

    def forward(self, anchors: Float[Tensor, "anchors dim"], candidates: Float[Tensor, "candidates dim"]) -> Weights:
        """The weight of each pair, between 0 and 1."""
        # The layer of a sum is the sum of layers, so sums of vectors need not be written out for all pairs.
        hidden = self.hidden(anchors)[:, None] + nn.functional.linear(candidates, self.hidden.weight)
        return self.output(hidden.tanh()).squeeze(2).sigmoid()
