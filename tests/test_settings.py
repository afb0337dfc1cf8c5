"""Settings: config.yaml, its schema and what the program accepts are the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dinov3_metadata.config import config_yaml, explain, is_good, prepare, schema, with_defaults
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.settings import Settings, flatten
from helpers import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

CONFIG = yaml.safe_load(config_yaml())
VALIDATOR = Draft202012Validator(schema())


def test_config_yaml_and_its_schema_are_generated() -> None:
    """`python -m dinov3_metadata.config .` writes both."""
    assert (REPOSITORY / "config.yaml").read_text() == config_yaml()
    text = (REPOSITORY / "workflow/schemas/config.schema.yaml").read_text()
    assert yaml.safe_load(text) == schema()
    Draft202012Validator.check_schema(schema())


def test_config_yaml_is_good() -> None:
    config = with_defaults(prepare(CONFIG))
    assert is_good(config)
    assert VALIDATOR.is_valid(config)
    assert with_defaults({}) | {"demo": CONFIG["demo"]} == config


VALUES = st.sampled_from(
    [
        *(
            "TRAIN",
            "",
            "auto",
            "torchvision",
            "full",
            "debug",
            "/x",
            "folders",
            0,
            1,
            -1,
            1000.5,
            True,
        ),
        *(None, [], ["TRAIN"], ["TRAIN", "TRAIN"], ["truncated"], {}, {"level": "full"}, {"x": 1}),
        *({"engine": "scandir", "unaddressable": "skip"}, {"sample": 10**10}, {"fail_on": ["x"]}),
        *(
            {"trust_timestamps": "auto"},
            {"trust_timestamps": "no"},
            {"trust_timestamps": 1},
            {"fail_on": ["truncated"]},
            {"level": 3},
            {"sample": True},
        ),
    ]
)
KEYS = st.sampled_from([*CONFIG, "engine", "level", "mine"])


@given(
    st.dictionaries(KEYS, VALUES, max_size=3),
    st.sampled_from([{}, {"root": "/root", "extra": "/extra"}]),
)
def test_what_is_good_is_what_the_schema_wants(
    changes: dict[str, Any], folders: dict[str, str]
) -> None:
    config = with_defaults(prepare(CONFIG | folders | changes))
    if is_good(config):
        assert VALIDATOR.is_valid(config), [*VALIDATOR.iter_errors(config)]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("level", "thorough", "config: verify: level: 'thorough' is not one of sample, full."),
        ("log_level", "loud", "config: log: level: 'loud' is not one of debug, info, warning."),
        ("engine", "find", "config: scan: engine: 'find' is not one of scandir, torchvision."),
        ("sample", 0, "config: verify: sample: 0 is below 1."),
        ("sample", True, "config: verify: sample: True is not a whole number."),
        ("keep", "long", "config: keep: 'long' is not a number."),
        ("keep", -1, "config: keep: -1 is below 0."),
        ("keep", float("nan"), "config: keep: nan is not a number."),
        (
            "trust_timestamps",
            "no",
            "config: scan: trust_timestamps: 'no' is not one of auto, true, false.",
        ),
        (
            "trust_timestamps",
            1,
            "config: scan: trust_timestamps: 1 is not one of auto, true, false.",
        ),
        ("splits", "TRAIN", "config: splits: 'TRAIN' is not a list."),
        ("splits", [], "config: splits: the list is empty."),
        ("splits", ["VAL", "VAL"], "config: splits: ['VAL', 'VAL'] names something twice."),
        ("splits", ["val"], "config: splits: 'val' is not one of TRAIN, VAL, TEST."),
        (
            "fail_on",
            ["ugly"],
            "config: audit: fail_on: 'ugly' is not one of zero-bytes, not-an-image",
        ),
        ("labels", "", "config: labels: the text is empty."),
        ("labels", 7, "config: labels: 7 is not text."),
    ],
)
def test_a_wrong_setting_is_named_as_config_yaml_has_it(name: str, value: Any, said: str) -> None:
    with pytest.raises(MetadataError) as error:
        Settings("/root", "/extra", **{name: value})
    assert str(error.value).startswith(said)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(Path("root"), "extra", labels=Path("names.csv"))
    assert (settings.root, settings.extra) == (f"{tmp_path}/root", f"{tmp_path}/extra")
    assert settings.view == f"{tmp_path}/extra/view"
    assert settings.labels == "names.csv"


def test_sections_and_flat_names_say_the_same() -> None:
    sections = {
        "scan": {"engine": "torchvision"},
        "verify": {"level": "full"},
        "log": {"level": "debug"},
    }
    flat = {"engine": "torchvision", "level": "full", "log_level": "debug"}
    assert flatten(sections) == flatten(flat) == flat


@pytest.mark.parametrize("wrong", [{"scan": {"engin": "x"}}, {"unadressable": "skip"}])
def test_an_unknown_setting_is_guessed(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        MetadataError, match=r"there is no setting .* Did you mean '.*(engine|unaddr)"
    ):
        flatten(wrong)


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(schema())) == schema()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits": ["TRIAN"]}, "splits: 'TRIAN' is not one of TRAIN, VAL, TEST."),
        ({"splits": "TRAIN"}, "splits: 'TRAIN' is not a list, for instance '[TRAIN]'."),
        ({"splits": []}, "splits: the list is empty."),
        ({"splits": ["VAL", "VAL"]}, "splits: ['VAL', 'VAL'] names something twice."),
        ({"labels": ""}, "labels: the text is empty."),
        ({"verify": {"sample": 0}}, "verify: sample: 0 is below 1."),
        ({"verify": {"sample": 10**10}}, "verify: sample: 10000000000 is above 1000000000."),
        ({"verify": {"sample": "many"}}, "verify: sample: 'many' is not a whole number."),
        ({"scan": {"trust_timestamps": "x"}}, "scan: trust_timestamps: 'x' is not one of auto, "
         "true, false."),
        ({"log": "debug"}, "log: 'debug' is not a section, for instance '{level: debug}'."),
        ({"verify": "x"}, "verify: 'x' is not a section, for instance '{level: x}'."),
        ({"root": 2024}, "root: '2024' is not text; put it in quotes."),
        ({"root": ["x"]}, "root: \"['x']\" is not text."),
        ({"layuot": "flat"}, "there is no setting 'layuot'. Did you mean 'layout'? The known"),
        ({"scan": {"x": 1}}, "scan: there is no setting 'x'. The known settings are engine, una"),
        ({"level": "x"}, "there is no setting 'level'. It belongs in a section: "
         "verify='{level: ...}' or log='{level: ...}'. The known settings are root, extra,"),
    ],
)  # fmt: skip
def test_what_the_schema_refuses_is_explained(changes: dict[str, Any], said: str) -> None:
    error = next(VALIDATOR.iter_errors(with_defaults(prepare(CONFIG | changes))))
    assert explain(error).startswith(f"config: {said}")
