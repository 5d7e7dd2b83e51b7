"""Asking. Knows how a call is sent, retried and kept alive; must not know how its answer is made."""
