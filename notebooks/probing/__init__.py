"""Losses without training, which notebook 03 shows: ``probes`` measures them on controlled errors, ``figures`` draws that."""
