"""Big archives with folders in them, from a server on this machine: whole, tampered with, and out to do harm."""

import errno
import shutil
import tarfile

import pytest
from data_helpers import archive, imagenette_files, refused, registered, serve, serving, stl10_files, write_files

from altprop.data import load
from altprop.data.download import SOURCES, retrieve
from altprop.data.imagenette import imagenette
from altprop.data.stl10 import stl10

PHOTOGRAPHS = imagenette_files(n=1)
STL = {"stl10_binary.tar.gz": archive("stl10_binary", {**stl10_files(), "fold_indices.txt": b"not wanted"})}
NETTE = {"imagenette2-160.tgz": archive("./imagenette2-160", {**PHOTOGRAPHS, "noisy_imagenette.csv": b"not wanted"})}


@pytest.fixture
def server():
    with serving() as served:
        yield served


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_stl10_comes_with_or_without_unlabelled_images(server, tmp_path):
    """The file that may be missing, demanded or forgotten."""
    url, files, _ = server
    serve(files, "stl10", STL)
    folder = retrieve("stl10", registered("stl10", STL), tmp_path / "all", url, progress=False)
    assert sorted(p.name for p in folder.iterdir()) == sorted(stl10_files())
    assert len(stl10(folder).x_unlabelled) == 2
    content = {name: data for name, data in stl10_files().items() if not name.startswith("unlabeled")}
    fewer = {"stl10_binary.tar.gz": archive("stl10_binary", content)}
    serve(files, "stl10", fewer)
    folder = retrieve("stl10", registered("stl10", fewer), tmp_path / "fewer", url, progress=False)
    assert stl10(folder).x_unlabelled is None


def test_folders_of_images_come_whole(server, tmp_path):
    """Half a folder that was there before would be taken for the whole, or stand in the way."""
    url, files, asked = server
    serve(files, "imagenette", NETTE)
    source = registered("imagenette", NETTE)
    write_files(tmp_path / "imagenette2-160", dict(list(PHOTOGRAPHS.items())[:3]))
    folder = retrieve("imagenette", source, tmp_path, url, progress=False)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")} == set(PHOTOGRAPHS)
    assert [p.name for p in tmp_path.iterdir()] == ["imagenette2-160"]
    assert len(imagenette(folder).x_train) == 10
    assert retrieve("imagenette", source, tmp_path, url, progress=False) == folder and len(asked) == 1


@pytest.mark.parametrize(("name", "content"), [("stl10", STL), ("imagenette", NETTE)])
def test_a_tampered_archive_leaves_nothing(server, tmp_path, name, content):
    """One bit of a picture changed on the way; and any archive but the published one, which is in the source."""
    url, files, _ = server
    ((file, data),) = content.items()
    serve(files, name, {file: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]})
    with refused(file, "SHA-256", registered(name, content).sha256[file], "ALTPROP_MIRROR"):
        retrieve(name, registered(name, content), tmp_path, url, progress=False)
    serve(files, name, content)
    with refused(file, SOURCES[name].sha256[file]):
        load(name, data_dir=tmp_path, mirror=url, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (special("../evil", tarfile.REGTYPE), ["'../evil'", "leave the folder"]),
        (special("{tmp}/evil", tarfile.REGTYPE), ["evil'", "leave the folder"]),
        (special("imagenette2-160/train/n01440764/../../../../evil", tarfile.REGTYPE), ["leave the folder"]),
        (special("imagenette2-160/../../evil", tarfile.SYMTYPE, "/"), ["leave the folder"]),
        (special("imagenette2-160/val/n01440764/x.JPEG", tarfile.SYMTYPE, "/etc/passwd"), ["x.JPEG", "link"]),
        (special("imagenette2-160/val/n01440764/x.JPEG", tarfile.LNKTYPE, "/etc/passwd"), ["x.JPEG", "link"]),
        (special("imagenette2-160/val/n01440764/x.JPEG", tarfile.FIFOTYPE), ["x.JPEG", "device"]),
    ],
    ids=["above", "absolute", "through folders", "link above", "link", "hard link", "pipe"],
)
def test_a_member_that_would_leave_the_folder_is_refused(server, tmp_path, member, words):
    """An archive that is complete, and has one more member, which would write or show files elsewhere."""
    url, files, _ = server
    member.name = member.name.format(tmp=tmp_path)
    wrong = {"imagenette2-160.tgz": archive("imagenette2-160", PHOTOGRAPHS, member)}
    serve(files, "imagenette", wrong)
    with refused("imagenette2-160.tgz", *words, "get the archive again"):
        retrieve("imagenette", registered("imagenette", wrong), tmp_path / "data", url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_a_class_is_refused(server, tmp_path):
    """A set of nine classes of which the reader would complain at every later load."""
    url, files, _ = server
    nine = {name: data for name, data in PHOTOGRAPHS.items() if not name.startswith("val/n03888257")}
    wrong = {"imagenette2-160.tgz": archive("imagenette2-160", nine)}
    serve(files, "imagenette", wrong)
    with refused("imagenette2-160/val/n03888257 is not in it"):
        retrieve("imagenette", registered("imagenette", wrong), tmp_path, url, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_taken_for_a_damaged_archive(server, tmp_path, monkeypatch):
    """STL-10 needs 6 GB on its way; the advice to download it again would not help."""
    url, files, _ = server
    serve(files, "stl10", STL)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with refused(f"{tmp_path}: stl10 cannot be stored there", "No space left on device", "ALTPROP_DATA"):
        retrieve("stl10", registered("stl10", STL), tmp_path, url, progress=False)
    assert list(tmp_path.iterdir()) == []
