"""Release: train LoRA modules on a forget set and subtract them from the weights, in rounds (Xie et al., 2025, arXiv 2509.14624).

`rounds` runs them, on the data of `round_data`, and `round_results` reads them back. `train_module` trains a module, with the penalty of
`orthogonality`. `choose_lambda` finds by `line_search` how many times it is subtracted, and `lora_delta` subtracts it exactly.
"""
