"""The stages of a run: objects that are built once a worker and then called once a batch."""
