"""Training of an edit: inputs, loss, trainer, checkpoints, and what the model generates for its own training."""
