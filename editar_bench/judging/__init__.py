"""Edits graded by a vision-language model behind an OpenAI-compatible endpoint; optional, and never part of a run."""
