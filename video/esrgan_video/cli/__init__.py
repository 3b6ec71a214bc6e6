"""The `esrgan` command."""
