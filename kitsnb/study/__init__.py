"""From runs to claims: finished runs and the seed paper's own numbers come in; tables, figures and the PDF go out.

A paper is a function of one study, a build's own or a published one. Hypotheses, which notebook 03 makes from the
losses alone, are checked against the runs. Every verdict follows the interval of a difference, never means alone.
"""
