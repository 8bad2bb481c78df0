"""From an embedding to a picture: draw it, search for its noise vector, fine-tune on it."""
