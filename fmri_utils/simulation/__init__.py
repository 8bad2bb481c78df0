"""A simulated Natural Scenes Dataset: stimuli, brain, measurement, files."""
