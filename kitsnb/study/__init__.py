"""From runs to claims: losses, finished runs and the seed paper's own numbers come in; tables, figures and the PDF go
out.

Probes say what the losses alone let one expect, and hypotheses check it against the runs. Every verdict follows the
interval of a paired difference, never means alone.
"""
