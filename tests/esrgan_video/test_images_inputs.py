"""Which files are worked on, and what the results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from esrgan.errors import UsageError
from esrgan_video.inputs import expand_inputs, is_video, output_path, plan_outputs


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_folder_gives_its_own_images_and_videos_sorted(tmp_path):
    _touch(tmp_path, "b.PNG", "a.mkv", "V.VOB", "notes.txt", "movie", ".hidden.png", "deeper/c.png", "c d%20é.jpg")
    assert _names(expand_inputs([tmp_path])) == ["V.VOB", "a.mkv", "b.PNG", "c d%20é.jpg"]


def test_glob_gives_known_files_sorted(tmp_path):
    _touch(tmp_path, "b2.png", "b1.png", "a.png", "b3.txt", "x/b4.png")
    assert _names(expand_inputs([f"{tmp_path}/b*"])) == ["b1.png", "b2.png"]
    assert _names(expand_inputs([f"{tmp_path}/**/b*"])) == ["b1.png", "b2.png", "b4.png"]


def test_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    _touch(tmp_path, "take[1].png", "take1.png")
    assert _names(expand_inputs([f"{tmp_path}/take[1].png"])) == ["take[1].png"]
    (tmp_path / "take[1].png").unlink()
    assert _names(expand_inputs([f"{tmp_path}/take[1].png"])) == ["take1.png"]


def test_folder_whose_name_looks_like_a_glob_is_that_folder(tmp_path):
    _touch(tmp_path, "[best]/z.png", "b/a.png")
    assert _names(expand_inputs([f"{tmp_path}/[best]"])) == ["z.png"]


def test_order_of_the_arguments_is_kept_and_repeats_are_dropped(tmp_path):
    _touch(tmp_path, "a.png", "b.png", "c.dat")
    files = [str(tmp_path / name) for name in ("c.dat", "b.png")]
    assert _names(expand_inputs([*files, tmp_path])) == ["c.dat", "b.png", "a.png"]


@pytest.mark.parametrize("pattern", ["missing.png", "*.webp", "empty", ""])
def test_pattern_without_match_is_refused(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    _touch(tmp_path, "empty/notes.txt", "a.png")
    with pytest.raises(UsageError):
        expand_inputs(["a.png", pattern] if pattern else [pattern])


def test_no_pattern_is_refused():
    with pytest.raises(UsageError, match="no input"):
        expand_inputs([])


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("in/a.jpg", {}, "a_out.jpg"),
        ("in/a.b.JPG", {}, "a.b_out.jpg"),
        ("in/a.jpg", {"suffix": ""}, "a.jpg"),
        ("in/a.jpg", {"suffix": "x4", "ext": "png"}, "a_x4.png"),
        ("in/a.jpg", {"ext": ".TIF"}, "a_out.tif"),
        ("in/a.dat", {}, "a_out.png"),
        ("in/a.webm", {}, "a_out.webm"),
        ("in/a.avi", {}, "a_out.mkv"),
        ("in/a.avi", {"ext": "mp4"}, "a_out.mp4"),
    ],
)
def test_result_in_a_folder_is_named_after_the_input(tmp_path, source, options, expected):
    assert output_path(Path(source), tmp_path, **options) == tmp_path / expected
    assert output_path(Path(source), tmp_path / "new", **options) == tmp_path / "new" / expected
    assert output_path(Path(source), f"{tmp_path}/v1.2/", **options) == tmp_path / "v1.2" / expected


def test_result_for_one_input_may_be_a_file(tmp_path):
    assert output_path(Path("a.jpg"), tmp_path / "b.png") == tmp_path / "b.png"
    assert output_path(Path("a.jpg"), tmp_path / "b.png", ext="png") == tmp_path / "b.png"
    with pytest.raises(UsageError, match=r"webp"):
        output_path(Path("a.jpg"), tmp_path / "b.png", ext="webp")


@pytest.mark.parametrize(("source", "ext"), [("a.png", "mp4"), ("a.mp4", "png"), ("a.png", "gif"), ("a.mp4", "avi")])
def test_extension_that_does_not_fit_is_refused_with_what_does(tmp_path, source, ext):
    with pytest.raises(UsageError, match=f"{ext}.*{'mkv' if is_video(Path(source)) else 'webp'}"):
        output_path(Path(source), tmp_path, ext=ext)


@pytest.mark.parametrize(
    "begin", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"BM", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a"]
)
def test_a_file_of_any_other_name_is_a_video_unless_it_begins_as_an_image(begin, tmp_path):
    for name in ("picture", "picture.dat"):
        (tmp_path / name).write_bytes(begin)
        assert not is_video(tmp_path / name)
    for name in ("movie", "movie.dat", "movie.divx"):
        (tmp_path / name).write_bytes(b"whatever it is")
        assert is_video(tmp_path / name)
        assert output_path(tmp_path / name, tmp_path) == tmp_path / "movie_out.mkv"
    for name in ("picture.heic", "broken.png", "broken.gif"):
        (tmp_path / name).write_bytes(b"whatever it is")
        assert not is_video(tmp_path / name)


def test_many_inputs_need_a_folder(tmp_path):
    with pytest.raises(UsageError, match="folder"):
        plan_outputs([Path("a.png"), Path("b.png")], tmp_path / "c.png")
    _touch(tmp_path, "file")
    with pytest.raises(UsageError, match="folder"):
        plan_outputs([Path("a.png"), Path("b.png")], tmp_path / "file")


def test_folder_as_input_needs_a_folder_whatever_is_in_it(tmp_path):
    with pytest.raises(UsageError, match="folder"):
        plan_outputs([Path("a.png")], tmp_path / "c.png", many=True)


def test_extension_is_for_its_kind_among_images_and_videos(tmp_path):
    mixed = [Path("a.jpg"), Path("b.avi")]
    assert _names([target for _, target in plan_outputs(mixed, tmp_path, ext="png")]) == ["a_out.png", "b_out.mkv"]
    assert _names([target for _, target in plan_outputs(mixed, tmp_path, ext="mp4")]) == ["a_out.jpg", "b_out.mp4"]
    with pytest.raises(UsageError, match="gif"):
        plan_outputs(mixed, tmp_path, ext="gif")
    with pytest.raises(UsageError, match="png"):
        plan_outputs([Path("a.avi"), Path("b.avi")], tmp_path, ext="png")


def test_equal_results_are_refused_before_the_work(tmp_path):
    sources = [Path("x/a.png"), Path("x/a.jpg")]
    assert _names([target for _, target in plan_outputs(sources, tmp_path)]) == ["a_out.png", "a_out.jpg"]
    with pytest.raises(UsageError, match=r"a\.png.*a\.jpg"):
        plan_outputs(sources, tmp_path, ext="png")
    with pytest.raises(UsageError, match=r"x.a\.png.*y.a\.png"):
        plan_outputs([Path("x/a.png"), Path("y/a.png")], tmp_path)


def test_result_that_would_replace_an_input_is_refused(tmp_path):
    _touch(tmp_path, "a.png", "a_out.png")
    with pytest.raises(UsageError, match=r"a_out\.png"):
        plan_outputs(expand_inputs([tmp_path]), tmp_path)
    with pytest.raises(UsageError, match=r"a\.png"):
        plan_outputs([tmp_path / "a.png"], tmp_path, suffix="")
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UsageError, match=r"a\.png"):
        plan_outputs([tmp_path / "a.png"], link, suffix="")
