"""COCONUT: positives from one set of vectors, and what they compete with from another."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.method.cores.info_nce import info_nce


def negative_student_positive_teacher(
    anchors: Float[Tensor, "anchors dim"],
    teachers: Float[Tensor, "teachers dim"],
    students: Float[Tensor, "students dim"],
    *,
    positives: Bool[Tensor, "anchors teachers"],
    competing: Bool[Tensor, "anchors students"],
    temperature: float = 0.1,
) -> Float[Tensor, " anchors"]:
    r"""SupCon whose positives are a teacher's vectors and whose denominator holds the student's.

    With s cosines divided by the temperature, t the teacher's vectors and a those of the student,
    loss_i = mean_{t positive} ( log sum_{a competing} exp(s_ia) - s_it ). The student stays near to what the teacher,
    frozen after the previous task, said of the rows that are rehearsed. It may be below 0.

    Args:
        anchors: projections of rehearsed rows, by the network that learns.
        teachers: those of the frozen network; without a gradient here.
        students: what stands in the denominator.
        positives: teacher vectors of rows of the anchor's class, its own row among them.
        competing: all students but the anchor itself.
        temperature: divides cosines, > 0.

    Returns:
        A loss per anchor; exactly 0 without a positive or a competitor.

    Source: COCONUT, Cappellazzo et al. 2023, https://arxiv.org/abs/2310.02699. Unconfirmed: the formula is from memory
        of the paper; the author's public code does not hold it. Its second term, between audio and text of the rows of
        the new task, is `clip`.
    """
    return info_nce(
        anchors,
        torch.cat([teachers.detach(), students]),
        temperature=temperature,
        positives=torch.cat([positives, torch.zeros_like(competing)], dim=1).to(anchors.dtype),
        competing=torch.cat([torch.zeros_like(positives), competing], dim=1),
    )
