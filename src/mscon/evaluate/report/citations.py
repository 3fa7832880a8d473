"""BibTeX of what a set of runs used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mscon.run.recipe import names_of

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
    "rank_n_contrast": """@inproceedings{zha2023rnc,
  title         = {Rank-N-Contrast: Learning Continuous Representations for Regression},
  author        = {Zha, Kaiwen and Cao, Peng and Son, Jeany and Yang, Yuzhe and Katabi, Dina},
  booktitle     = {Advances in Neural Information Processing Systems},
  volume        = {36},
  year          = {2023},
  eprint        = {2210.01189},
  archivePrefix = {arXiv}
}""",
    "himulcon": """@inproceedings{zhang2022himulcon,
  title         = {Use All The Labels: A Hierarchical Multi-Label Contrastive Learning Framework},
  author        = {Zhang, Shu and Xu, Ran and Xiong, Caiming and Ramaiah, Chetan},
  booktitle     = {IEEE Conference on Computer Vision and Pattern Recognition},
  year          = {2022},
  eprint        = {2204.13207},
  archivePrefix = {arXiv}
}""",
    "y_aware": """@inproceedings{dufumier2021yaware,
  title         = {Contrastive Learning with Continuous Proxy Meta-Data for {3D} {MRI} Classification},
  author        = {Dufumier, Benoit and Gori, Pietro and Victor, Julie and others},
  booktitle     = {Medical Image Computing and Computer Assisted Intervention},
  year          = {2021},
  eprint        = {2106.08808},
  archivePrefix = {arXiv}
}""",
    "scarf": """@inproceedings{bahri2022scarf,
  title         = {{SCARF}: Self-Supervised Contrastive Learning using Random Feature Corruption},
  author        = {Bahri, Dara and Jiang, Heinrich and Tay, Yi and Metzler, Donald},
  booktitle     = {International Conference on Learning Representations},
  year          = {2022},
  eprint        = {2106.15147},
  archivePrefix = {arXiv}
}""",
    "xbm": """@inproceedings{wang2020xbm,
  title         = {Cross-Batch Memory for Embedding Learning},
  author        = {Wang, Xun and Zhang, Haozhi and Huang, Weilin and Scott, Matthew R.},
  booktitle     = {IEEE Conference on Computer Vision and Pattern Recognition},
  year          = {2020},
  eprint        = {1912.06798},
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
        objectives = names_of(recipe, "objective")
        kinds = {
            part.get("name", "categorical")
            for part, objective in zip(recipe["similarity"], objectives, strict=True)
            if objective == "supcon"
        }
        used |= {"simclr"} if "same_row" in kinds else set()
        used |= {"supcon"} if kinds - {"same_row"} else set()
        used |= {"y_aware"} if "continuous" in kinds else set()
        used |= {*objectives} & {"rank_n_contrast", "himulcon"}
        if int(recipe.get("candidates", {}).get("memory_size", 0)) > 0:
            used.add("xbm")
        if recipe.get("data", {}).get("input", "image") != "image" and recipe.get("views", {}).get("corrupt", 0) > 0:
            used.add("scarf")
        if "triplet_margin" in objectives or "masks" in names_of(recipe, "heads"):
            used.add("csn")
        if recipe["weighting"]["name"] == "uncertainty" and len(recipe["similarity"]) > 1:
            used.add("uncertainty")
    return "\n\n".join(entry for name, entry in _ENTRIES.items() if name in used)
