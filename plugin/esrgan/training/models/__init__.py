"""BasicSR's models with this project's training steps."""
