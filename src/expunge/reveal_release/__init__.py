"""reveal_release."""
