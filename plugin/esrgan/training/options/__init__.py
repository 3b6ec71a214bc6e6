"""Options files: YAML to frozen values that were checked, and the dictionary that BasicSR takes."""
