"""`python -m esrgan_gradio` is `esrgan app`."""

from __future__ import annotations

import sys

from esrgan_video.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
