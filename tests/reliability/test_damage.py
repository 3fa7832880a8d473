"""A damaged file is named, or makes no difference."""

from __future__ import annotations

import json

from process import call
from reliability.damage import damages, try_all, write_scene


def test_a_damaged_file_is_refused_by_name_or_makes_no_difference(tmp_path, full, counts):
    scene = tmp_path / "scene" / "job"
    write_scene(scene)
    work = tmp_path / "job"
    work.mkdir()
    outcome = call(try_all, (scene, damages(scene, 1000 if full else 100), 2 if full else 1), cwd=work).wait(3600)
    assert outcome.status == 0, outcome
    report = json.loads(outcome.out)
    for kind, count in report["counts"].items():
        counts[f"damages: {kind}"] += count
    assert not report["faults"], "\n".join(report["faults"])
