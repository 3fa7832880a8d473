"""mscon: one embedding from several notions of similarity.

Names are loaded when first used, so that `mscon --help` need not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mscon.comparison.compare import compare as compare
    from mscon.data.proposal.proposal import init as init
    from mscon.data.table.table import read_table as read_table
    from mscon.deploy.databases.export import export_vectors as export_vectors
    from mscon.deploy.databases.exported import open_export as open_export
    from mscon.deploy.load import load as load
    from mscon.deploy.transformer import EmbeddingTransformer as EmbeddingTransformer
    from mscon.errors import MSConError as MSConError
    from mscon.estimator.estimator import MSCon as MSCon
    from mscon.estimator.prediction import predict as predict
    from mscon.estimator.trained_run import TrainedRun as TrainedRun
    from mscon.estimator.trained_run import fit as fit
    from mscon.estimator.trained_run import resume as resume
    from mscon.evaluate.affinity import affinity as affinity
    from mscon.evaluate.clusters import cluster as cluster
    from mscon.evaluate.label_quality.doubt import doubt as doubt
    from mscon.evaluate.probe import probe as probe
    from mscon.evaluate.report.page import build_report as build_report
    from mscon.method import cores as cores
    from mscon.method.loss import MSConLoss as MSConLoss
    from mscon.method.loss import NTXentLoss as NTXentLoss
    from mscon.method.loss import SupConLoss as SupConLoss
    from mscon.method.objectives.amcl import AMCL as AMCL
    from mscon.method.objectives.base import Objective as Objective
    from mscon.method.objectives.beclr import BECLR as BECLR
    from mscon.method.objectives.cacr import CACR as CACR
    from mscon.method.objectives.core_tuning import CoreTuning as CoreTuning
    from mscon.method.objectives.cross_entropy import CrossEntropy as CrossEntropy
    from mscon.method.objectives.dcl import DCL as DCL
    from mscon.method.objectives.hard_contrastive import HardContrastive as HardContrastive
    from mscon.method.objectives.himulcon import HiMulCon as HiMulCon
    from mscon.method.objectives.l_spread import LSpread as LSpread
    from mscon.method.objectives.mulsupcon import MulSupCon as MulSupCon
    from mscon.method.objectives.mv_dhel import MVDHEL as MVDHEL
    from mscon.method.objectives.mv_infonce import MVInfoNCE as MVInfoNCE
    from mscon.method.objectives.rank_n_contrast import RankNContrast as RankNContrast
    from mscon.method.objectives.rince import RINCE as RINCE
    from mscon.method.objectives.sepclr import SepCLR as SepCLR
    from mscon.method.objectives.simlap import SimLAP as SimLAP
    from mscon.method.objectives.sincere import SINCERE as SINCERE
    from mscon.method.objectives.subspaces import Subspaces as Subspaces
    from mscon.method.objectives.supcon import SupCon as SupCon
    from mscon.method.objectives.supcon import supcon as supcon
    from mscon.method.objectives.supremix import SupReMix as SupReMix
    from mscon.method.objectives.swav import SwAV as SwAV
    from mscon.method.objectives.symnce import SymNCE as SymNCE
    from mscon.method.objectives.tau import TaU as TaU
    from mscon.method.objectives.triplet_margin import TripletMargin as TripletMargin
    from mscon.method.pairs import LazyPairs as LazyPairs
    from mscon.method.pairs import Pairs as Pairs
    from mscon.method.similarities.base import Cell as Cell
    from mscon.method.similarities.base import Similarity as Similarity
    from mscon.method.similarities.categorical import Categorical as Categorical
    from mscon.method.similarities.continuous import Continuous as Continuous
    from mscon.method.similarities.hierarchical import Hierarchical as Hierarchical
    from mscon.method.similarities.multi_label import MultiLabel as MultiLabel
    from mscon.method.similarities.ordinal import Ordinal as Ordinal
    from mscon.method.similarities.same_row import SameRow as SameRow
    from mscon.method.similarities.teacher import Teacher as Teacher
    from mscon.method.weightings.base import Weighting as Weighting
    from mscon.run import recipe as recipe
    from mscon.run.recipe import Recipe as Recipe
    from mscon.run.run import Run as Run
    from mscon.search.index import open_index as open_index

_HOMES = {
    "mscon.comparison.compare": ("compare",),
    "mscon.data.proposal.proposal": ("init",),
    "mscon.data.table.table": ("read_table",),
    "mscon.deploy.databases.export": ("export_vectors",),
    "mscon.deploy.databases.exported": ("open_export",),
    "mscon.deploy.load": ("load",),
    "mscon.deploy.transformer": ("EmbeddingTransformer",),
    "mscon.errors": ("MSConError",),
    "mscon.estimator.estimator": ("MSCon",),
    "mscon.estimator.prediction": ("predict",),
    "mscon.estimator.trained_run": ("TrainedRun", "fit", "resume"),
    "mscon.evaluate.affinity": ("affinity",),
    "mscon.evaluate.clusters": ("cluster",),
    "mscon.evaluate.label_quality.doubt": ("doubt",),
    "mscon.evaluate.probe": ("probe",),
    "mscon.evaluate.report.page": ("build_report",),
    "mscon.method.cores": ("cores",),
    "mscon.method.loss": ("MSConLoss", "NTXentLoss", "SupConLoss"),
    "mscon.method.objectives.amcl": ("AMCL",),
    "mscon.method.objectives.base": ("Objective",),
    "mscon.method.objectives.beclr": ("BECLR",),
    "mscon.method.objectives.cacr": ("CACR",),
    "mscon.method.objectives.core_tuning": ("CoreTuning",),
    "mscon.method.objectives.cross_entropy": ("CrossEntropy",),
    "mscon.method.objectives.dcl": ("DCL",),
    "mscon.method.objectives.hard_contrastive": ("HardContrastive",),
    "mscon.method.objectives.himulcon": ("HiMulCon",),
    "mscon.method.objectives.l_spread": ("LSpread",),
    "mscon.method.objectives.mulsupcon": ("MulSupCon",),
    "mscon.method.objectives.mv_dhel": ("MVDHEL",),
    "mscon.method.objectives.mv_infonce": ("MVInfoNCE",),
    "mscon.method.objectives.rank_n_contrast": ("RankNContrast",),
    "mscon.method.objectives.rince": ("RINCE",),
    "mscon.method.objectives.sepclr": ("SepCLR",),
    "mscon.method.objectives.simlap": ("SimLAP",),
    "mscon.method.objectives.sincere": ("SINCERE",),
    "mscon.method.objectives.subspaces": ("Subspaces",),
    "mscon.method.objectives.supcon": ("SupCon", "supcon"),
    "mscon.method.objectives.supremix": ("SupReMix",),
    "mscon.method.objectives.swav": ("SwAV",),
    "mscon.method.objectives.symnce": ("SymNCE",),
    "mscon.method.objectives.tau": ("TaU",),
    "mscon.method.objectives.triplet_margin": ("TripletMargin",),
    "mscon.method.pairs": ("LazyPairs", "Pairs"),
    "mscon.method.similarities.base": ("Cell", "Similarity"),
    "mscon.method.similarities.categorical": ("Categorical",),
    "mscon.method.similarities.continuous": ("Continuous",),
    "mscon.method.similarities.hierarchical": ("Hierarchical",),
    "mscon.method.similarities.multi_label": ("MultiLabel",),
    "mscon.method.similarities.ordinal": ("Ordinal",),
    "mscon.method.similarities.same_row": ("SameRow",),
    "mscon.method.similarities.teacher": ("Teacher",),
    "mscon.method.weightings.base": ("Weighting",),
    "mscon.run.recipe": ("Recipe", "recipe"),
    "mscon.run.run": ("Run",),
    "mscon.search.index": ("open_index",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {"cores", "recipe"}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mscon' has no attribute '{name}'")
    home = importlib.import_module(_HOME[name])
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value  # the next use finds it without asking here
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
