"""How good is a prediction? Label maps of prediction and reference come in, with the spacing; scores come out.

``kits19_score`` is the challenge's Dice, ``case_row`` all that a table says of a case, ``surface_scores`` the
distances between surfaces, all in native geometry.
"""

from kitsnb.metric.score import SCORES, SIZES, case_row, kits19_score, lesion_size, summarise, surface_scores

__all__ = ["SCORES", "SIZES", "case_row", "kits19_score", "lesion_size", "summarise", "surface_scores"]
