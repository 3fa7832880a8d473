"""BibTeX of what a set of runs used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Identifiers instead of addresses: a report that opens offline should not look as if it linked anywhere.
_ENTRIES = {
    "mscon": """@misc{mu2023mscon,
  title         = {Multi-Similarity Contrastive Learning},
  author        = {Mu, Emily and Guttag, John and Makar, Maggie},
  year          = {2023},
  eprint        = {2307.02712},
  archivePrefix = {arXiv}
}""",
    "supcon": """@inproceedings{khosla2020supcon,
  title         = {Supervised Contrastive Learning},
  author        = {Khosla, Prannay and Teterwak, Piotr and Wang, Chen and Sarna, Aaron and Tian, Yonglong
                   and Isola, Phillip and Maschinot, Aaron and Liu, Ce and Krishnan, Dilip},
  booktitle     = {Advances in Neural Information Processing Systems},
  volume        = {33},
  year          = {2020},
  eprint        = {2004.11362},
  archivePrefix = {arXiv}
}""",
    "simclr": """@inproceedings{chen2020simclr,
  title         = {A Simple Framework for Contrastive Learning of Visual Representations},
  author        = {Chen, Ting and Kornblith, Simon and Norouzi, Mohammad and Hinton, Geoffrey},
  booktitle     = {International Conference on Machine Learning},
  year          = {2020},
  eprint        = {2002.05709},
  archivePrefix = {arXiv}
}""",
    "csn": """@inproceedings{veit2017csn,
  title         = {Conditional Similarity Networks},
  author        = {Veit, Andreas and Belongie, Serge and Karaletsos, Theofanis},
  booktitle     = {IEEE Conference on Computer Vision and Pattern Recognition},
  year          = {2017},
  eprint        = {1603.07810},
  archivePrefix = {arXiv}
}""",
    "uncertainty": """@inproceedings{kendall2018uncertainty,
  title         = {Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics},
  author        = {Kendall, Alex and Gal, Yarin and Cipolla, Roberto},
  booktitle     = {IEEE Conference on Computer Vision and Pattern Recognition},
  year          = {2018},
  eprint        = {1705.07115},
  archivePrefix = {arXiv}
}""",
}


def bibtex(recipes: Iterable[Mapping[str, Any]]) -> str:
    """MSCon, and what these recipes (as plain values) build on, each once."""
    used = {"mscon"}
    for recipe in recipes:
        kinds = {part.get("name", "categorical") for part in recipe["similarity"]}
        if recipe["objective"]["name"] == "supcon":
            used |= {"simclr"} if "same_row" in kinds else set()
            used |= {"supcon"} if kinds - {"same_row"} else set()
        if recipe["objective"]["name"] == "triplet_margin" or recipe.get("heads", {}).get("name") == "masks":
            used.add("csn")
        if recipe["weighting"]["name"] == "uncertainty" and len(recipe["similarity"]) > 1:
            used.add("uncertainty")
    return "\n\n".join(entry for name, entry in _ENTRIES.items() if name in used)
