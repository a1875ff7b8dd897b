"""Where the change lives: full weights, LoRA, ReFT or a gated GRUN edit; apply, save, load, switch off."""
