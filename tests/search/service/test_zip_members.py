"""What an uploaded zip file may hold."""

import stat
import zipfile
from pathlib import Path

import pytest
from zip_files import images, picture, zipped

from paredown.search.errors import ConfigError
from paredown.search.service.zip_members import checked_members, extracted, open_zip


def members(tmp_path: Path, content: bytes, max_bytes: int = 10**6) -> tuple[list[str], int]:
    file = tmp_path / "upload.zip"
    file.write_bytes(content)
    with open_zip(file) as archive:
        found, left_out = checked_members(archive, max_bytes)
        for member in found:
            assert sum(map(len, extracted(archive, member))) == member.info.file_size
        return sorted(str(member.target) for member in found), left_out


@pytest.mark.parametrize("top", ["", "flowers/"])
def test_images_are_taken_with_or_without_a_folder_around_them(tmp_path: Path, top: str) -> None:
    rest = [(f"{top}.DS_Store", b"x"), ("__MACOSX/train/cat/._0.png", b"x"), (f"{top}train/cat/Thumbs.db", b"x")]
    found, left_out = members(tmp_path, zipped(images(top), rest))
    assert found == sorted(images())
    assert left_out == 3


def linked() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("train/cat/link.png")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def device_file() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("train/cat/device.png")
    info.create_system, info.external_attr = 3, (stat.S_IFCHR | 0o666) << 16
    return info


OUTSIDE = [
    "../evil.png",
    "train/cat/../../../evil.png",
    "/etc/evil.png",
    "//host/evil.png",
    "C:/evil.png",
    "C:evil.png",
    "train\\..\\..\\evil.png",
    "\\\\host\\evil.png",
    "train/cat/%2e%2e/%2e%2e/%2e%2e/evil.png",
    "train/cat/%252e%252e/evil.png",
    "train/cat/..%2fevil.png",
    "train/cat/..%5cevil.png",
    "%2fetc/evil.png",
    "train/cat/\uff0e\uff0e/evil.png",
    "train/cat/..\uff0fevil.png",
    "train//cat/evil.png",
    "train/./cat/evil.png",
    "train/cat/..",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_the_folder_refuses_the_whole(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="leads out of the folder"):
        members(tmp_path, zipped(images(), [(name, picture(1))]))


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ((linked(), b"/etc/passwd"), "is a link or a special file"),
        ((device_file(), b""), "is a link or a special file"),
        (("train/cat/inner.zip", zipped({"a": b"b"})), "is no image; allowed: images alone, no zip files"),
        (("train/cat/run.py", b"import os"), r"train/cat/run.py: is no image"),
        (("train/cat/page.eps", b"%!PS"), "is no image"),
        (("train/cat/CAT.PNG", picture(1)), ""),
        (("train/CAT/0.PNG", picture(1)), "is there twice, also as train/cat/0.png"),
        (("train/cat/0.png/1.png", picture(1)), "train/cat/0.png: is a file and a folder"),
        (("train/cat/a\nb.png", picture(1)), "has control characters"),
        (("train/" + "d/" * 20 + "1.png", picture(1)), "too long or too deep"),
        (("train/cat/" + "d" * 300 + ".png", picture(1)), "too long or too deep"),
        (("loose.png", picture(1)), "loose.png: is in no class; allowed: train/CLASS"),
        (("train/loose.png", picture(1)), "is in no class"),
        (("test2/cat/1.png", picture(1)), "is in no class"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:30] or "allowed",
)
def test_a_member_that_is_no_image_of_a_class_refuses_the_whole(tmp_path: Path, member: object, said: str) -> None:
    content = zipped(images(), [member])  # type: ignore[list-item]
    if not said:
        assert len(members(tmp_path, content)[0]) == len(images()) + 1
        return
    with pytest.raises(ConfigError, match=said):
        members(tmp_path, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there twice"):
        members(tmp_path, zipped(images(), [("train/cat/0.png", picture(2))]))


def test_bombs_are_refused_by_their_ratio_and_by_their_total(tmp_path: Path) -> None:
    bomb = ("train/cat/bomb.bmp", b"\0" * 3_000_000)
    with pytest.raises(ConfigError, match=r"bytes unpack to 3,000,000; allowed: 100 times"):
        members(tmp_path, zipped(images(), [bomb]), 10**9)
    many = [(f"train/cat/b{number}.bmp", b"\0" * 900_000) for number in range(3)]
    with pytest.raises(ConfigError, match=r"unpacks to 2,7\d\d,\d\d\d bytes; allowed: 1,000,000"):
        members(tmp_path, zipped(images(), many))
    with pytest.raises(ConfigError, match="holds no images"):
        members(tmp_path, zipped({}))


def test_a_zip_file_that_lies_about_a_length_is_refused(tmp_path: Path) -> None:
    content = zipped({"train/cat/0.png": b"\0" * 500_000})
    shorter = content.replace((500_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    assert shorter != content
    with pytest.raises(ConfigError, match=r"cannot be unpacked|longer than the zip file says"):
        members(tmp_path, shorter)


def test_encrypted_and_damaged_members_are_refused(tmp_path: Path) -> None:
    content = zipped({"train/cat/0.png": picture(1, 64)})
    at = content.index(b"PK\x01\x02") + 8
    with pytest.raises(ConfigError, match="is encrypted"):
        members(tmp_path, content[:at] + b"\x01" + content[at + 1 :])
    start = content.index(b"0.png") + 40
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        members(tmp_path, content[:start] + bytes(200) + content[start + 200 :])


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)[:10], zipped(images())[:-30]])
def test_what_is_no_zip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="no zip file that can be read"):
        members(tmp_path, content)


def test_a_list_of_members_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paredown.search.service.zip_members.DIRECTORY_BYTES", 500)
    with pytest.raises(ConfigError, match="list of members is too long"):
        members(tmp_path, zipped(images()))
    monkeypatch.setattr("paredown.search.service.zip_members.DIRECTORY_BYTES", 64_000)
    monkeypatch.setattr("paredown.search.service.zip_members.MAX_FILES", 3)
    with pytest.raises(ConfigError, match="has 20 members; allowed: 3"):
        members(tmp_path, zipped(images()))
