.DEFAULT_GOAL := help
.PHONY: help demo test upscale app lint lock pictures

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo:  ## upscale the clip that comes with the project
	@scripts/setup.sh demo
	@mkdir -p demo_output
	@.venv/bin/esrgan upscale examples/demo.mp4 -o demo_output/demo_x4.mp4
	@echo "the clip, four times as large: demo_output/demo_x4.mp4"

test: lint  ## check the code and run all tests
	@.venv/bin/pytest -n 2 --dist loadfile

upscale:  ## upscale your own file: make upscale IN=clip.mkv OUT=large.mkv
	@scripts/setup.sh demo
	@.venv/bin/esrgan upscale "$${IN:?name the input: make upscale IN=clip.mkv OUT=large.mkv}" -o "$${OUT:?name the output: make upscale IN=clip.mkv OUT=large.mkv}"

app:  ## open the browser demo
	@scripts/setup.sh app
	@.venv/bin/esrgan app

lint:  ## formatting, lint and types
	@scripts/setup.sh test
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

lock:  ## pin the newest versions that fit setup.py
	@scripts/setup.sh test
	@echo 'torch==2.13.0 torchvision==0.28.0' | tr ' ' '\n' > .venv/pins.txt
	@.venv/bin/uv pip compile setup.py --all-extras --python .venv/bin/python --no-build-isolation-package basicsr \
	    --no-header --no-annotate --quiet --constraint .venv/pins.txt --output-file constraints.txt --upgrade
	@.venv/bin/python -m pip freeze | grep -E '^(uv|wheel|Cython|cython)==' >> constraints.txt

pictures:  ## make the pictures of the README again
	@scripts/setup.sh test
	@.venv/bin/python scripts/make_pictures.py
