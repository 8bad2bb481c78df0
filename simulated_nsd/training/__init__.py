"""Training of the small networks that the demo ships: CLIP, the judge and LAFITE.

``python -m simulated_nsd.training`` trains all three from seeds alone; each stage checkpoints and
resumes. Scenes come from a stream of seeds that no simulated subject ever sees.
"""
