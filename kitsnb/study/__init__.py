"""From runs to claims: finished runs and the seed paper's own numbers come in; tables, figures and the PDF go out.

Hypotheses, which notebook 03 makes from the losses alone, are checked against the runs. Every verdict follows the
interval of a paired difference, never means alone.
"""
