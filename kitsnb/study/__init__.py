"""From runs to claims: scores of many runs come in; tables, tests, figures and the paper go out.

What losses alone let one expect (probes, hypotheses) is worked out here, and checked against the runs.
"""
