"""The grammar of what is searched: what is written is what a trial may be, and what a recipe gets."""

import math

import pytest

from altprop.limits import WIDTH
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe
from altprop.study.keys import changes
from altprop.study.space import check_ends, edges, parse_space


class Asked:
    """A stand-in for a trial of Optuna, which keeps what it was asked for."""

    def suggest_float(self, key, low, high, log=False):
        return ("float", key, low, high, log)

    def suggest_int(self, key, low, high):
        return ("int", key, low, high)

    def suggest_categorical(self, key, choices):
        return ("choice", key, choices)


SPACE = (
    "lr=log:1e-4:1, momentum=lin:0:.99,batch=int:8:128,schedule=choice:constant|step@2,4,"
    "arguments.scale=choice:.5|2|auto"
)


def test_a_space_is_what_its_text_says():
    """A comma inside a choice is no new key; both ends and kinds reach the sampler as they were written."""
    space = parse_space(SPACE)
    assert [one.suggest(Asked(), key) for key, one in space.items()] == [
        ("float", "lr", 1e-4, 1.0, True),
        ("float", "momentum", 0.0, 0.99, False),
        ("int", "batch", 8, 128),
        ("choice", "schedule", ["constant", "step@2,4"]),
        ("choice", "arguments.scale", [0.5, 2, "auto"]),
    ]
    assert {key: one.text for key, one in space.items()} == {
        "lr": "log:1e-4:1", "momentum": "lin:0:.99", "batch": "int:8:128", "schedule": "choice:constant|step@2,4",
        "arguments.scale": "choice:.5|2|auto",
    }  # fmt: skip
    assert [*parse_space({"lr": "log:.1:1", "batch": [32, 64]})["batch"].ends] == [32, 64]


def test_values_reach_the_recipe():
    """Each key where the recipe has it; what stands beside it in a table stays, and what is as before is not told."""
    recipe = make_recipe(
        rule="softhebb",
        arguments={"inverse_temperature": 2.0},
        readout={"epochs": 3},
        phase=[{"name": "layer 1", "epochs": 2}],
    )
    values = {
        "lr": 0.5, "batch": 64, "arguments.anti_hebbian": False, "readout.lr": 0.1,
        "phase.layer 1.lr": 0.2, "phase.*.batch": 8,
    }  # fmt: skip
    found = changes(recipe, values)
    assert found["lr"] == 0.5 and found["arguments"] == {"inverse_temperature": 2.0, "anti_hebbian": False}
    assert (found["readout"]["epochs"], found["readout"]["lr"]) == (3, 0.1)
    told = {table["name"]: table for table in found["phase"]}
    assert (told["layer 1"]["epochs"], told["layer 1"]["lr"], told["*"]["batch"]) == (2, 0.2, 8)
    assert recipe.readout.lr is None, "the recipe itself is as it was"
    assert changes(recipe, {"readout.epochs": 3}) == {}


def test_the_best_at_an_edge_is_told():
    """By hand: of 1e-4 to 1 a tenth of four decades is .4 of one, so below 2.5e-4 and above .398."""
    space = parse_space("lr=log:1e-4:1,momentum=lin:0:1,batch=choice:8|16")
    inside = {"momentum": 0.5, "batch": 8}

    def at(lr, *others):
        return [*edges(space, {"lr": lr, **inside}, [{"lr": one, **inside} for one in (lr, *others)])]

    assert at(2.4e-4) == at(0.41, 0.01) == ["lr"]
    assert at(2.6e-4) == at(0.39) == []
    assert at(0.41, 0.9) == at(2.4e-4, 1.5e-4) == [], "one that was tried beyond was worse"
    assert space["lr"].place(0.01) == pytest.approx(0.5) and space["batch"].place(8) is None
    assert math.isclose(space["momentum"].place(0.25), 0.25)


BAD = {
    "no kind": ("lr=1e-4:1", ["lr=1e-4:1", "log:low:high"]),
    "unknown kind": ("lr=logg:1e-4:1", ["logg:1e-4:1", "lr=log:1e-4:1"]),
    "ends": ("lr=log:1:.1", ["log:1:.1", "low below high"]),
    "zero": ("lr=log:0:1", ["log:0:1", "above 0"]),
    "infinite": ("lr=lin:0:inf", ["lin:0:inf"]),
    "three": ("lr=log:.1:1:10", ["log:.1:1:10"]),
    "parts of a whole": ("batch=int:1.5:8", ["int:1.5:8"]),
    "twice": ("lr=log:.1:1,lr=lin:0:1", ["lr twice"]),
    "same choice": ("batch=choice:8|8", ["choice:8|8"]),
    "key": ("momentun=lin:0:1", ["'momentun'", "mean 'momentum'"]),
    "argument": ("arguments.scal=lin:.1:1", ["'scal'", "mean 'scale'"]),
    "how it is judged": ("val=lin:.1:.2", ["val", "judged", "--val"]),
    "seed": ("seed=int:0:9", ["seed", "judged"]),
    "phase without key": ("phase.lr=log:.1:1", ["phase.NAME.KEY"]),
    "key of a readout": ("readout.momentun=lin:0:1", ["mean 'momentum'"]),
    "end out of range": ("momentum=lin:0:2", ["momentum with 2", "less than 1"]),
    "empty key": ("=lin:0:1", ["no key ''"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_spaces_are_refused_in_one_line(case):
    """What came, what was expected, what to do."""
    text, words = BAD[case]
    with pytest.raises(RunError) as refused:
        check_ends(make_recipe(rule="drtp"), parse_space(text))
    assert len(str(refused.value)) <= WIDTH and "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)
