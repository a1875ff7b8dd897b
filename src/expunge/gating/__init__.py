"""Everything about the gate of a GRUN edit except its layer (`expunge.edits.grun`), in the order of use.

- `augment`, `paraphrase`: make variants of the prompts that a gate trains on.
- `training_prompts`: collect the prompts to train on, to validate on and to calibrate on.
- `train`: train the gate of one block on hidden states.
- `calibrate`: choose the threshold for a false-positive rate.
- `fit`: do all of this for a run, and install the gate in the edit.
- `inspect`: read the gate on one prompt, token by token.
- `eval_prompts`: the prompts of a gate evaluation, in variants that no gate trains on.
"""
