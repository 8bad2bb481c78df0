"""What a run is and what it leaves: settings, artifacts, tensors, resumable parts, errors."""
