"""The table of measures says what their classes are, and every measure keeps the contract."""

import re
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any, get_args, get_type_hints

import pytest

from perpixel.measures import MEASURES
from perpixel.measures.measure import Measure


def class_of(name: str) -> Any:
    module, _, kind = MEASURES[name].home.partition(":")
    return getattr(import_module(f"perpixel.measures.{module}"), kind)


@pytest.mark.parametrize("name", MEASURES)
def test_the_table_has_the_fields_of_the_class(name: str) -> None:
    entry, measure = MEASURES[name], class_of(name)
    assert issubclass(measure, Measure)
    assert (measure.name, MEASURES[name].home.partition(":")[0]) == (name, name)
    assert [item.name for item in fields(measure)] == [*([entry.first] if entry.first else []), *entry.settings]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, entry in MEASURES.items() for key in entry.settings])
def test_a_flag_has_the_type_and_the_default_of_its_field(name: str, key: str) -> None:
    setting, measure = MEASURES[name].settings[key], class_of(name)
    field = next(item for item in fields(measure) if item.name == key)
    hint = get_type_hints(measure)[key]
    assert (get_args(setting.type) or setting.type) == (get_args(hint) or hint)
    assert field.default is not MISSING
    if setting.type is bool:
        assert field.default is False
        return
    shown = re.search(r"\[default: (.*)\]", setting.help)
    assert shown is not None
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    words = [f"{value:g}" for value in values]
    assert shown[1] in (" ".join(words), f"{words[0]} {words[1]} .. {words[-1]}" if len(words) > 3 else "")


def test_no_two_measures_have_a_flag_of_one_name() -> None:
    flags = [flag for name, entry in MEASURES.items() for flag in (name, *entry.settings)]
    assert len(flags) == len({*flags})


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_says_its_rules_in_the_protocol(name: str) -> None:
    measure = class_of(name)(*(["mask"] if MEASURES[name].first == "kind" else ["cell"] if MEASURES[name].first else []))
    if name == "pixels":  # whose rules are those of every protocol
        assert measure.protocol() == {}
    else:
        (entry,) = measure.protocol().values()
        assert entry.items() >= measure.rules.items()
        assert measure.rules
