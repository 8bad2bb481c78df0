"""``make study``: what takes hours. Resumable; the notebooks show the results."""
