#!/usr/bin/env bash
# Make .venv with Python 3.12 and install the project into it: `scripts/setup.sh demo`, `app` or `test`.
# A second run finds everything there and returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:?usage: scripts/setup.sh demo|app|test}
case $profile in
    demo) extras="" ;;
    app) extras="[gradio]" ;;
    test) extras="[dev]" ;;
    *) echo "setup: unknown profile '$profile': use demo, app or test" >&2; exit 2 ;;
esac

inputs=(setup.py constraints.txt video/esrgan_video/{engine,colour}/native/*.cpp video/esrgan_video/engine/native/*.{h,inl})
stamp=.venv/.ready-$profile
if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(cat "${inputs[@]}" | cksum)" ]; then
    exit 0
fi

is_python_312() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python python3 \
        "$HOME"/.pyenv/versions/3.12*/bin/python "$HOME"/.local/share/uv/python/cpython-3.12*/bin/python; do
        if [ -n "$candidate" ] && is_python_312 "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: Python 3.12 was not found (VapourSynth needs at least 3.12, basicsr at most 3.12)." >&2
    echo "setup: install it (apt install python3.12-venv, brew install python@3.12, pyenv install 3.12," >&2
    echo "setup: or uv python install 3.12), or name it: make $profile PYTHON=/path/to/python3.12" >&2
    return 1
}

if ! is_python_312 .venv/bin/python; then
    python=$(find_python)
    echo "setup: $python"
    rm -rf .venv
    "$python" -m venv .venv
fi

echo "setup: installing packages into .venv, a few GB the first time"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
install() { .venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt "$@"; }
if [ "$profile" = test ]; then
    # basicsr is built from source and imports torch while it is: its build takes the packages of this environment.
    install setuptools wheel cython numpy torch torchvision
fi
install --no-build-isolation-package basicsr --editable ".$extras"
if ! compgen -G "video/esrgan_video/engine/native/_winograd*.so" > /dev/null; then
    echo "setup: no C++ compiler was found: all works, but --exact runs in torch and takes longer" >&2
fi
cat "${inputs[@]}" | cksum > "$stamp"
