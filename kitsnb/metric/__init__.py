"""How good is a prediction? Label maps of prediction and reference come in, with the spacing; scores come out.

``score`` is the KiTS19 score and its table a case, ``surface`` the distances between surfaces, both in native geometry.
"""
