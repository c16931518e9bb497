"""Simulated CT, for who has no CT: procedural phantoms, and CT painted around real label maps.

Seeds or label maps come in; cases in KiTS19's folder format go out, always called simulated. One painter of tissue
serves both, with a set of parameters for each.
"""

from kitsnb.simulation.hybrid import write_hybrid
from kitsnb.simulation.phantom import Phantom, reorient, simulate_case, write_dataset

__all__ = ["Phantom", "reorient", "simulate_case", "write_dataset", "write_hybrid"]
