"""Three readings of one answer (EMT sections 4 and 7): its label string, its embedding, another model's verdict."""
