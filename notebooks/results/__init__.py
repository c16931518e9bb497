"""What the runs show, for notebooks 04 and 05: ``figures`` and ``tables`` of them, and the ``audit`` of the seed paper."""
