"""Where samples come from: readers of picture sets, LLaVA JSON, and the sets drawn here (`data.drawn`)."""
