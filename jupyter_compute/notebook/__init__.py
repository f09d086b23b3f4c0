"""In the notebook's kernel: from a cell or a call to a run, and back."""
