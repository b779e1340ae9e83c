"""Where a path leads: links are followed, but not one that another user has put into a folder of everybody's."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import as_nobody, descriptors

from fastinit.cli.command import main
from fastinit.files.npy import fill_file
from fastinit.files.place import Place, held
from fastinit.files.publish import publishing, write_at
from fastinit.files.small import save
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write

STRANGER = 4242
PLAN = Plan([Tensor("w", (4, 4), "float32", Normal())])


def place(path: Path) -> None:
    with publishing(path, 3, overwrite=True) as fd:
        write_at(fd, b"new", 0)


def page(path: Path, option: str) -> None:
    """A page of the command line, of a checkpoint beside it."""
    write(PLAN, path.parent.parent / "checkpoint", seed=0)
    assert main([*option.split(), str(path.parent.parent / "checkpoint"), "--html", str(path)]) == 1
    raise PermissionError("the command line has said why")


def plan_of(path: Path) -> None:
    write(PLAN, path.parent.parent / "checkpoint", seed=0)
    rules = path.parent.parent / "rules.toml"
    rules.write_text('[[rule]]\nmatch = ".*"\nscheme = "zeros"\n')
    shapes = path.parent.parent / "checkpoint"
    assert main(["plan", "--shapes", str(shapes), "--rules", str(rules), "-o", str(path)]) == 1
    raise PermissionError("the command line has said why")


DOORS: dict[str, Callable[[Path], object]] = {
    "publishing": place,
    "save": lambda path: save(path, b"new"),
    "fill": lambda path: fill_file(path, (4,), Normal(), seed=0, overwrite=True),
    "fill in place": lambda path: fill_file(path, (4,), Normal(), seed=0, existing=True),
    "show --html": lambda path: page(path, "show"),
    "plan -o": plan_of,
}


def everybodys(folder: Path, owner: int = 0) -> Path:
    """A folder such as /tmp."""
    folder.mkdir()
    folder.chmod(0o1777)
    os.chown(folder, owner, -1)
    return folder


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of other users")


@as_root
@pytest.mark.parametrize("door", DOORS)
def test_a_link_that_a_stranger_has_put_into_a_folder_of_everybodys_is_not_followed(tmp_path: Path, door: str) -> None:
    victim = tmp_path / "victim.bin"
    victim.write_bytes(b"precious content")
    link = everybodys(tmp_path / "tmp") / "w.bin"
    link.symlink_to(victim)
    os.lchown(link, STRANGER, STRANGER)
    before = descriptors()
    with pytest.raises(PermissionError):
        DOORS[door](link)
    assert victim.read_bytes() == b"precious content"
    assert [entry.name for entry in link.parent.iterdir()] == ["w.bin"]
    assert descriptors() == before


@as_root
@pytest.mark.parametrize("kind", ["absent", "pipe", "device"])
def test_nor_is_one_to_nothing_to_a_pipe_or_to_a_device(tmp_path: Path, kind: str) -> None:
    link = everybodys(tmp_path / "tmp") / "page.html"
    pipe = tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(pipe)
    link.symlink_to("/dev/null" if kind == "device" else pipe)
    os.lchown(link, STRANGER, STRANGER)
    keep = os.open(pipe, os.O_RDWR | os.O_NONBLOCK) if kind == "pipe" else None
    with pytest.raises(PermissionError, match=r"page\.html is a link to .* that another user \(uid 4242\) has put"):
        save(link, b"new")
    assert kind == "pipe" or not pipe.exists()
    if keep is not None:
        os.close(keep)


@as_root
@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nor_one_to_a_folder(tmp_path: Path, scheme: str, overwrite: bool) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "model-00001-of-00009.safetensors").write_bytes(b"precious")
    link = everybodys(tmp_path / "tmp") / "out"
    link.symlink_to(tmp_path / "home")
    os.lchown(link, STRANGER, STRANGER)
    for folder in (link, link / "below"):
        with pytest.raises(PermissionError, match="another user"):
            write(PLAN, f"{scheme}{folder}", seed=0, overwrite=overwrite)
    with pytest.raises(PermissionError, match="another user"):
        place(link / "w.bin")
    assert [entry.name for entry in (tmp_path / "home").iterdir()] == ["model-00001-of-00009.safetensors"]


@as_root
@pytest.mark.parametrize(("link_owner", "folder_owner", "mode"), [(0, 7, 0o1777), (7, 7, 0o1777), (7, 0, 0o755)])
def test_links_of_our_own_of_the_folders_owner_and_in_other_folders_are_followed(
    tmp_path: Path, link_owner: int, folder_owner: int, mode: int
) -> None:
    folder = everybodys(tmp_path / "tmp", folder_owner)
    folder.chmod(mode)
    link = folder / "w.bin"
    link.symlink_to(tmp_path / "real.bin")
    os.lchown(link, link_owner, -1)
    place(link)
    assert link.is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


@as_root
def test_the_rule_asks_who_follows(tmp_path: Path) -> None:
    """The link of nobody is nobody's own; root's, in a folder of a third, is a stranger's to nobody."""
    tmp_path.chmod(0o777)
    folder = everybodys(tmp_path / "tmp", 7)
    for name, owner in (("own.bin", 65534), ("roots.bin", 0), ("owners.bin", 7)):
        (folder / name).symlink_to(f"../real.{name}")
        os.lchown(folder / name, owner, -1)
    said = {name: as_nobody(lambda: place(Path("tmp", name)), tmp_path) for name in os.listdir(folder)}  # noqa: B023, PTH208
    assert said["own.bin"] == said["owners.bin"] == ""
    assert "PermissionError" in said["roots.bin"] and "another user (uid 0)" in said["roots.bin"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    before = descriptors()
    with pytest.raises(OSError, match="more than 40 links"):
        place(tmp_path / "a")
    assert descriptors() == before


def test_a_path_leads_where_realpath_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against os.path.realpath, on 500 random paths through folders, links, "..", and doubled slashes."""
    draw = random.Random(0)
    folders = [tmp_path]
    for i in range(12):
        folders.append(draw.choice(folders) / f"d{i}")
        folders[-1].mkdir()
    for i in range(12):
        to = draw.choice(folders)
        text = str(to) if draw.random() < 0.5 else os.path.relpath(to, folder := draw.choice(folders))
        (draw.choice(folders) if text.startswith("/") else folder).joinpath(f"l{i}").symlink_to(text)
    monkeypatch.chdir(folders[5])
    before, led = descriptors(), 0
    for _ in range(500):
        steps = [draw.choice([f"d{draw.randrange(12)}", f"l{draw.randrange(12)}", "..", ".", ""]) for _ in range(4)]
        path = "/".join([draw.choice([str(draw.choice(folders)), "."]), *steps, "new.bin"])
        parent = os.path.dirname(os.path.realpath(path))  # noqa: PTH120
        try:
            os.stat(os.path.dirname(path))  # noqa: PTH116, PTH120
        except OSError as error:
            with pytest.raises(type(error)), held(path):
                pass
            continue
        with held(path) as found:
            assert str(found.path) == f"{parent}/new.bin"
            assert os.path.samestat(os.fstat(found.folder), os.stat(parent))  # noqa: PTH116
        led += 1
    assert led > 50
    assert descriptors() == before


@pytest.mark.parametrize("path", ["/", ".", "..", "", "/.."])
def test_a_path_without_a_name_is_the_folder_itself(path: str) -> None:
    with held(path) as found:
        assert found.name == "."
        assert os.path.samestat(os.fstat(found.folder), os.stat(path or "."))  # noqa: PTH116


def test_a_file_that_becomes_a_link_before_it_is_filled_in_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastinit.files import npy

    (tmp_path / "victim").write_bytes(b"precious")
    np.save(tmp_path / "w.npy", np.zeros(4, "f4"))
    real = npy.held_to_write

    @contextlib.contextmanager
    def swap(path: Path, size: int) -> Iterator[Place]:
        with real(path, size) as found:
            path.unlink()
            path.symlink_to("victim")
            yield found

    monkeypatch.setattr(npy, "held_to_write", swap)
    with pytest.raises(OSError, match=r"w\.npy cannot be written"):
        fill_file(tmp_path / "w.npy", None, Normal(), seed=0, existing=True)
    assert (tmp_path / "victim").read_bytes() == b"precious"
