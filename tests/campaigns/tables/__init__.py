"""Part `tables`: tables that Hypothesis makes, from every format to every target and back, judged by a slow reference."""
