"""Numbers of four small trainings as they were at commit cd62c86; an objective or a step that moves them says so."""

from __future__ import annotations

import pytest

from mscon.train.fit import fit

TWO = 'similarity=[{column="shape", name="categorical"}, {column="shade", name="categorical"}]'
CSN = ["heads.name=masks", "heads.output_dim=8", "triplets.count=50", "triplets.validation=20", "views.count=1"]
GOLDEN: dict[str, tuple[list[str], list[float], list[float]]] = {
    "supcon": (["weighting.name=relative"], [15.49467, 12.23529], [3.135386, 3.044485, 3.134224]),
    "inside, with a memory": (
        ["objective.positives=inside", "candidates.memory_size=20"],
        [12.16183, 10.90464],
        [3.777254, 3.685213, 3.135629],
    ),
    "cross_entropy": (
        ["objective.name=cross_entropy", "heads.name=identity", TWO],
        [1.571641, 1.292537],
        [0.7023869, 0.686957],
    ),
    "triplet_margin": (
        ["objective.name=triplet_margin", *CSN, TWO],
        [0.5409728, 0.4375485],
        [0.1892066, 0.1688118],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_recipe_trains_as_it_did(name, recipe_with, table, tmp_path):
    overrides, totals, validation = GOLDEN[name]
    log = fit(recipe_with(*overrides), table, tmp_path / "run", progress=False).read_log()
    assert [r["total"] for r in log if r["kind"] == "step"] == pytest.approx(totals, rel=1e-4)
    last = [r["loss"] for r in log if r["kind"] == "validation"][-1]
    assert list(last.values()) == pytest.approx(validation, rel=1e-4)
