"""Simulated CT, for who has no CT: procedural phantoms, and CT painted around real label maps.

Seeds and label maps come in; cases in KiTS19's folder format go out, always called simulated.
"""
