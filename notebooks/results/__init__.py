"""What notebooks 04 and 05 show of runs: ``figures`` that need CT or histories, and ``tables`` for people."""
