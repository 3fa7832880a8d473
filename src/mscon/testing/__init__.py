"""What mscon expects of an objective, a similarity, a weighting and heads, as checks to run on a class of your own.

    from mscon.testing import check_similarity

    def test_my_kind():
        check_similarity(Cyclic, ["23", "1", "6", "12.5"], period=24.0)

Each check draws its own cases, the same in every run, and raises AssertionError with a sentence that says what does not
hold. The parts that come with mscon are tested by the same functions. They need no test framework.
"""

from mscon.testing.heads import check_heads as check_heads
from mscon.testing.objectives import check_objective as check_objective
from mscon.testing.similarities import check_similarity as check_similarity
from mscon.testing.weightings import check_weighting as check_weighting
