"""Three small tools: any case (notebook 01), a loss to play with (03), any case as two losses see it (05)."""
