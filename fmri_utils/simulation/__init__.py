"""A simulated Natural Scenes Dataset: stimuli, brain, measurement, and the files it is stored in."""
