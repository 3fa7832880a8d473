"""Ranges: the types of settings, with the values that each may have. Bounds stand at the type, with a description where
they need more words."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from msgspec import Meta

_LARGEST = sys.float_info.max  # infinity is not allowed
AtLeast1 = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="a whole number from 0 to 2^32 - 1")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
Probability = Annotated[float, Meta(ge=0, le=1, description="a probability from 0 to 1")]
NotNegative = Annotated[float, Meta(ge=0, le=_LARGEST, description="a number of 0 or above")]
Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST, description="a finite number")]
Importance = Annotated[float, Meta(ge=0, le=1e6, description="a number from 0 to 1,000,000")]
Positive = Annotated[float, Meta(gt=0, le=_LARGEST, description="a number above 0")]

ALL: Literal["*"] = "*"
"""In place of names of columns: all that are left, see `mscon.data.inputs.encoded_columns`."""

ColumnNames = Annotated[
    tuple[str, ...] | Literal["*"], Meta(description='a list of names of columns, or "*" for all that are left')
]
