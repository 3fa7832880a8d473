"""Cores of losses of the literature, as functions for one's own loop; none is in the catalogue."""

from mscon.method.cores.column_search import ColumnSearch as ColumnSearch
from mscon.method.cores.domain_heads import DomainHeads as DomainHeads
from mscon.method.cores.learned_views import learned_view_loss as learned_view_loss
from mscon.method.cores.learned_views import margin_penalty as margin_penalty
from mscon.method.cores.pixel_consistency import pixel_positives as pixel_positives
from mscon.method.cores.pixel_consistency import pixpro as pixpro
from mscon.method.cores.pixel_consistency import propagate as propagate
from mscon.method.cores.view_gate import augmenter_loss as augmenter_loss
from mscon.method.cores.view_gate import gated_view as gated_view
from mscon.method.cores.view_gate import hard_concrete as hard_concrete
