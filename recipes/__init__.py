"""One file per published experiment or shipped artefact. Run as `python -m recipes.NAME [--tiny] --output_path DIR`."""
