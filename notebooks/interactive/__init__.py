"""Three small tools: look at any case (notebook 01), play with a loss (03), open any case of two losses (05)."""
