"""The fingerprint of a data set, which notebook 01 shows: ``measure`` takes it case by case, ``figures`` draws it."""
