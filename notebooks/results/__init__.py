"""What the runs show (notebooks 04 and 05): ``figures`` and ``tables`` of them, ``audit`` of the seed paper."""
