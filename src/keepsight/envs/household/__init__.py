"""ALFWorld's rooms: the games, the engine that plays them, the facts, the plans and the pictures."""
