"""Released LAFITE checkpoints, read as data: nothing that is in them is ever run."""
