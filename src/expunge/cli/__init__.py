"""The command line: one file for each verb; `settings`, `train_and_audit`, `output` and `tables` hold what verbs share."""
