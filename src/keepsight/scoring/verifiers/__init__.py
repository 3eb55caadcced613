"""Verifiers: scorers whose explanation goes back into the prompt and whose value is the reward."""
