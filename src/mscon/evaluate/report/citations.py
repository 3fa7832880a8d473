"""Citations: BibTeX of what a set of runs builds on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mscon.evaluate.page.frame import file_text
from mscon.run.recipe import names_of


def bibtex(recipes: Iterable[Mapping[str, Any]]) -> str:
    """MSCon, and what these recipes (as plain values) build on, each once, in the order of references.bib."""
    used = {"mu2023mscon"}
    for recipe in recipes:
        objectives = names_of(recipe, "objective")
        kinds = {
            part.get("name", "categorical")
            for part, objective in zip(recipe["similarity"], objectives, strict=True)
            if objective == "supcon"
        }
        data, views = recipe.get("data", {}), recipe.get("views", {})
        uses = {
            "chen2020simclr": "same_row" in kinds,
            "khosla2020supcon": bool(kinds - {"same_row"}),
            "dufumier2021yaware": "continuous" in kinds,
            "zha2023rnc": "rank_n_contrast" in objectives,
            "zhang2022himulcon": "himulcon" in objectives,
            "veit2017csn": "triplet_margin" in objectives or "masks" in names_of(recipe, "heads"),
            "wang2020xbm": int(recipe.get("candidates", {}).get("memory_size", 0)) > 0,
            "bahri2022scarf": data.get("input", "image") != "image" and views.get("corrupt", 0) > 0,
            "kendall2018uncertainty": recipe["weighting"]["name"] == "uncertainty" and len(recipe["similarity"]) > 1,
        }
        used |= {key for key, is_used in uses.items() if is_used}
    # Identifiers instead of addresses: a report that opens offline should not look as if it linked anywhere.
    entries = file_text("mscon.evaluate.report", "template", "references.bib").strip().split("\n\n")
    return "\n\n".join(entry for entry in entries if entry.partition("{")[2].partition(",")[0] in used)
