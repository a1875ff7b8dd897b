"""auditing/probes."""
