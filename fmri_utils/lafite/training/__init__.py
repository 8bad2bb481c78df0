"""Training of LAFITE: losses, data, steps, checkpoints, one process or several."""
