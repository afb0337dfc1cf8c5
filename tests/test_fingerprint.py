"""Fingerprints: states of folders and the records of them survive their JSON."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from dinov3_metadata.fingerprint import (
    A_FILE,
    UNREAD,
    FolderState,
    Record,
    State,
    folder_state,
    folder_states,
    has_times,
    read_record,
    was_folder,
    write_record,
)
from dinov3_metadata.trees import of_tree
from hypothesis import given
from hypothesis import strategies as st

WATCHED = st.none() | st.builds(FolderState, st.integers(0, 9), watched=st.just({}))

STATES: st.SearchStrategy[State] = st.none() | st.builds(
    FolderState,
    *[st.integers(-1, 2**63)] * 3,
    st.text("0123456789abcdef", max_size=12),
    st.dictionaries(
        st.text(),
        st.none() | st.builds(FolderState, st.integers(0, 9), watched=st.just({})),
        max_size=2,
    ),
)


@given(st.dictionaries(st.text(), STATES), st.lists(st.text(), unique=True))
def test_a_record_is_read_as_it_was_written(states: dict[str, State], retired: list[str]) -> None:
    record = Record("settings", states, "after", tuple(sorted(retired)))
    with TemporaryDirectory() as folder:
        write_record(f"{folder}/folders.json", record)
        assert read_record(f"{folder}/folders.json") == record


def test_kinds_of_states(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder, names = folder_state(tmp_path), folder_state(tmp_path, trust_timestamps=False)
    assert has_times(folder)
    assert was_folder(names)
    assert not has_times(names)
    assert folder_state(tmp_path / "file") == A_FILE
    assert folder_state(tmp_path / "file", trust_timestamps=False) == A_FILE
    assert folder_state(tmp_path / "missing") is None
    assert not any(map(was_folder, (A_FILE, None)))
    assert not any(map(has_times, (A_FILE, UNREAD, None)))


def test_a_record_of_other_settings_hides_no_true_one(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    (folder / "cat").mkdir(parents=True)
    records = [(name, tmp_path / f"{name}.json") for name in ("a", "b", "c")]
    for (_, path), settings in zip(records, ("others", "ours", "others"), strict=True):
        write_record(path, Record(settings, folder_states(folder)))
    assert of_tree(folder, records, "ours").name == "b"
    (tmp_path / "a.json").write_text("damaged")
    assert of_tree(folder, records, "ours").name == "b"


def test_a_link_to_nothing_is_not_a_link_to_itself(tmp_path: Path) -> None:
    """The first may come to lead to a folder, the second is refused: their names differ in kind."""
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "link").symlink_to("nowhere")
    before = folder_state(folder, trust_timestamps=False)
    (folder / "link").unlink()
    (folder / "link").symlink_to("link")
    assert folder_state(folder, trust_timestamps=False) != before


def test_a_record_whose_list_is_a_number_has_no_list(tmp_path: Path) -> None:
    path = tmp_path / "folders.json"
    path.write_text(json.dumps({"settings": "s", "folders": {}, "after": "", "retired": 5}))
    assert read_record(path) == Record("s", {})
