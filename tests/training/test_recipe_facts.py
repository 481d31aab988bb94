"""Recipes are what was published: the files against the tables of `recipe_facts.py`, in both directions."""

import re
from dataclasses import fields

import pytest
import recipe_facts
import torch
from facts import OURS

from perpixel import networks
from perpixel.datasets import ON_DISK
from perpixel.training.optimiser import optimiser_of
from perpixel.training.recipe import FREE, RECIPES, Recipe, merge, read_toml

NAMES = sorted({path.stem for path in RECIPES.glob("*.toml")} | recipe_facts.RECIPES.keys())


def header(name: str) -> list[str]:
    """The comment that a recipe opens with, without its marks."""
    lines = (RECIPES / f"{name}.toml").read_text().splitlines()
    return [line[2:] for line in lines[: lines.index("")]]


def line_of(name: str, opening: str) -> str:
    return next(line for line in header(name) if line.startswith(opening))


def test_every_recipe_has_its_table_and_every_table_its_recipe() -> None:
    assert sorted(recipe_facts.RECIPES) == sorted(path.stem for path in RECIPES.glob("*.toml"))


def test_every_setting_has_a_known_default() -> None:
    known = {name: fact.value for name, fact in recipe_facts.DEFAULTS.items()}
    assert {item.name: item.default for item in fields(Recipe)} == known


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_as_published(name: str) -> None:
    expected = {setting: fact.value for setting, fact in {**recipe_facts.DEFAULTS, **recipe_facts.RECIPES[name]}.items()}
    found = merge(RECIPES / f"{name}.toml", {}, {})[0].to_json()
    differing = {setting for setting in found | expected if found.get(setting, "?") != expected.get(setting, "?")}
    assert {setting: (found.get(setting, "?"), recipe_facts.RECIPES[name].get(setting)) for setting in differing} == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_recipe_has_a_source(name: str) -> None:
    assert set(read_toml(RECIPES / f"{name}.toml")) - set(recipe_facts.RECIPES[name]) == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_is_ours(name: str) -> None:
    lines = header(name)
    start = next((place for place, line in enumerate(lines) if line.startswith("Differs: ")), len(lines))
    differs = " ".join(lines[start:])
    for setting, fact in recipe_facts.RECIPES[name].items():
        if fact.source == OURS and setting not in FREE:
            assert fact.differs, f"{setting}: say which words of '# Differs:' are about it"
            assert fact.differs in differs, setting


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_in_a_recipe_are_the_published_ones(name: str) -> None:
    paper, expected = line_of(name, "Paper's score: "), line_of(name, "Score to expect: ")
    if name in recipe_facts.AT_SECOND_HAND:
        assert name not in recipe_facts.SCORES
        assert "at second hand" in paper or "none for this stage" in paper
    else:
        found = tuple(tuple(map(float, re.findall(r"\d+\.\d+", line))) for line in (paper, expected))
        assert found == recipe_facts.SCORES[name].value


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_judged_as_published(name: str) -> None:
    opening = f"  perpixel evaluate runs/{name} --root DATA "
    found = tuple(line.removeprefix(opening) for line in header(name) if line.startswith(opening))
    assert found == (recipe_facts.COMMANDS[name].value if name in recipe_facts.COMMANDS else ())


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_that_a_recipe_tells_is_that_of_its_settings(name: str) -> None:
    recipe, cost = merge(RECIPES / f"{name}.toml", {}, {})[0], line_of(name, "Cost: ")
    stated = re.match(r"Cost: ([\d,]+) steps of (one|\d+) ", cost)
    assert stated is not None
    assert int(stated[1].replace(",", "")) == recipe.steps
    assert stated[2] == ("one" if recipe.batch == 1 else str(recipe.batch))
    for validations in re.findall(r"(\d+) validations", cost):
        assert int(validations) == recipe.validations
    for epochs in re.findall(r"\((\d+) epochs\)", cost):
        pictures = ON_DISK[recipe.data].pictures[recipe.train_split]
        assert int(epochs) == recipe.steps * recipe.batch // pictures >= 175  # of at least 175, CVPR 2015 says


@pytest.mark.parametrize("name", recipe_facts.MULTIPLIERS)
def test_rates_and_decays_are_those_of_the_authors_layers(name: str) -> None:
    recipe = merge(RECIPES / f"{name}.toml", {}, {})[0]
    with torch.device("meta"):
        network = networks.build(recipe.network, 21, **{**recipe.network_arguments(), "width": 0.02})
    names = {parameter: called for called, parameter in network.named_parameters()}
    table = recipe_facts.MULTIPLIERS[name].value
    seen = set()
    for group in optimiser_of(network, recipe).param_groups:
        for parameter in group["params"]:
            expression = next(expression for expression in table if re.search(expression, names[parameter]))
            seen.add(expression)
            decay = group["weight_decay"] / recipe.decay if recipe.decay else 0.0
            assert (group["factor"], decay) == table[expression], names[parameter]
    assert seen == set(table)
