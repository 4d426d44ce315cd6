"""Recipes: TOML there and back by an independent reader, and every value that must be refused."""

import math
import sys

import pytest

from altprop import RULES
from altprop.cli.settings import parse_settings
from altprop.limits import nearest
from altprop.run.recipe import PhaseTable, Readout, Recipe, RunError
from altprop.run.values import make_recipe, read_recipe, rule_arguments
from altprop.suits import RATES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FULL = {
    "rule": "pepita", "arguments": {"sign": -1, "presynaptic": "standard", "scale": 0.125}, "loss": "mse",
    "data": "mnist", "data_dir": "/some/where", "label": "kind", "scale": "unit", "val": 0.25, "net": "784-32-10",
    "act": "tanh", "dropout": 0.5, "bias": False, "init": "he_normal", "epochs": 7, "batch": 12, "optimizer": "sgd",
    "lr": 3e-05, "momentum": 0.5, "weight_decay": 1e-10, "schedule": "step@2,4", "seed": 2**62, "device": "cpu",
    "threads": 2, "stream": True, "measure": False, "nesterov": True, "eps": 0.5, "freeze": 1, "whiten": "pca",
    "augment": "flip", "probe": True, "task": "classification", "encoding": "utf-16", "categories": ["colour", "a=b"],
    "missing": "mean", "precision": "bf16", "compile": True, "class_weight": {"cat": 1.0, "a b": 2.5},
    "target_scale": "none",
}  # fmt: skip


PHASED = {
    "rule": "softhebb", "arguments": {"inverse_temperature": [1.0, 0.5]}, "power": 0.75,
    "phase": [
        {"name": "layer *", "epochs": 3, "beside": False, "batch": 7, "optimizer": "sgd", "lr": 0.08, "power": 0.25,
         "momentum": 0.25, "nesterov": True, "eps": 0.125, "weight_decay": 1e-7, "schedule": "halve@50%"},
        {"name": "layer 2", "lr": 0.005},
    ],
    "optimizer": "norm_sgd", "init": "radius25", "act": "triangle0.7,triangle",
    "readout": {
        "by": "hebbian", "strength": 1.0,
        "epochs": 50, "batch": 32, "optimizer": "adam", "lr": 0.001, "momentum": 0.5, "weight_decay": 1e-5,
        "schedule": "halve@20%,35%", "dropout": 0.5, "augment": "flip", "dtype": "float16", "memory": 2.5,
    },
}  # fmt: skip


def written(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_toml_there_and_back(tmp_path):
    """A resumed run would otherwise go on by another recipe than the one it began with."""
    assert {*FULL, *PHASED} == set(Recipe.model_fields), "a new key belongs into this test"
    assert PHASED["readout"].keys() == Readout.model_fields.keys(), "a new key belongs into this test"
    assert PHASED["phase"][0].keys() == PhaseTable.model_fields.keys(), "a new key belongs into this test"
    for given in (FULL, PHASED):
        recipe = make_recipe(**given)
        assert tomllib.loads(recipe.toml()).items() >= given.items()
        assert read_recipe(written(tmp_path, recipe.toml())) == recipe


def test_defaults_there_and_back(tmp_path):
    """What is None must stay undecided, not become the text 'None'."""
    recipe = make_recipe()
    assert read_recipe(written(tmp_path, recipe.toml())) == recipe
    assert recipe.lr is None and recipe.net is None


@pytest.mark.parametrize(
    "text", ['with "quotes"', "back\\slash", "täglich.csv", "line\nbreak", "tab\tstop", "# no comment", "数据.npz"]
)
def test_awkward_text_survives(tmp_path, text):
    """File names may hold anything; a recipe that cannot be read back makes its run useless."""
    assert read_recipe(written(tmp_path, make_recipe(data=text).toml())).data == text


@pytest.mark.parametrize("text", ["\N{GRINNING FACE}.csv", "delete\x7f.csv"])
def test_text_beyond_json_survives(tmp_path, text):
    """JSON escapes what TOML does not know (halves of characters), and leaves raw what TOML forbids."""
    assert read_recipe(written(tmp_path, make_recipe(data=text).toml())).data == text


@pytest.mark.parametrize("value", [1e-300, 1e22, 5e-324, 0.1, 1.0])
def test_floats_survive_to_the_bit(tmp_path, value):
    """A rate rounded on its way through the file would break the promise to resume to the bit."""
    assert read_recipe(written(tmp_path, make_recipe(lr=value).toml())).lr == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale", 3), ("scale", 3.0), ("init", "3"), ("seed", 3)],
)
def test_arguments_keep_their_type(tmp_path, name, value):
    """``seed=1`` and ``init="1"`` are different things."""
    back = read_recipe(written(tmp_path, make_recipe(rule="fa", arguments={name: value}).toml())).arguments[name]
    assert back == value and type(back) is type(value)


def test_changes_come_before_the_file(tmp_path):
    """Options given beside --config win; what they do not name stays."""
    recipe = read_recipe(written(tmp_path, 'rule = "fa"\nlr = 0.5\nepochs = 3\n'), lr=0.25)
    assert (recipe.rule, recipe.lr, recipe.epochs) == ("fa", 0.25, 3)


BAD = {
    "unknown key": ({"epoch": 3}, ["unknown recipe key 'epoch'", "'epochs'"]),
    "unknown key far from all": ({"zzz": 3}, ["unknown recipe key 'zzz'", "there is rule, arguments"]),
    "unknown rule": ({"rule": "pepitta"}, ["unknown rule 'pepitta'", "'pepita'"]),
    "unknown rule far from all": ({"rule": "zzz"}, ["unknown rule 'zzz'", "there is bp, shallow"]),
    "rule of another type": ({"rule": 3}, ["rule = 3"]),
    "argument of another rule": ({"rule": "drtp", "arguments": {"presynaptic": "x"}}, ["'presynaptic'", "sign"]),
    "argument misspelt": ({"rule": "pepita", "arguments": {"sgin": 1}}, ["'sgin'", "did you mean 'sign'"]),
    "argument that the recipe gives": ({"rule": "fa", "arguments": {"loss": "mse"}}, ["'loss'"]),
    "argument of a rule without any": ({"rule": "bp", "arguments": {"scale": 1}}, ["'bp'", "'scale'", "none"]),
    "arguments no table": ({"arguments": [1]}, ["arguments"]),
    "argument a list": ({"rule": "fa", "arguments": {"scale": [1.0]}}, ["argument scale=[1.0]", "give a number"]),
    "argument a table": ({"rule": "fa", "arguments": {"scale": {"a": 1}}}, ["argument scale={'a': 1}"]),
    "readout where all learn by labels": ({"readout": {"epochs": 3}}, ["readout came", "'bp'", "leave it out"]),
    "readout key": ({"rule": "softhebb", "readout": {"epoch": 3}}, ["readout.epoch = 3"]),
    "readout by": ({"rule": "softhebb", "readout": {"by": "rigde"}}, ["readout.by = 'rigde'", "'ridge'"]),
    "hebbian readout beside": ({"rule": "softhebb", "readout": {"by": "hebbian"}}, ["without epochs", "supervised"]),
    "readout where none reads": (
        {"rule": "hebb", "arguments": {"readout": False}, "readout": {"epochs": 3}},
        ["readout=false", "leave one"],
    ),
    "solved readout in steps": ({"rule": "oja", "readout": {"by": "svc", "lr": 0.1}}, ["readout.lr", "closed form"]),
    "readout beside with dropout": (
        {"rule": "oja", "readout": {"dropout": 0.5}},
        ["readout.dropout", "beside the layers below", "leave it out"],
    ),
    "temperature inf": ({"rule": "softhebb", "arguments": {"inverse_temperature": [1.0, math.inf]}}, ["inf"]),
    "solved readout of augmented images": (
        {"rule": "softhebb", "readout": {"by": "svc", "augment": "flip"}},
        ["readout.augment came for a readout in closed form", "leave it out"],
    ),
    "readout optimizer": ({"rule": "softhebb", "readout": {"optimizer": "adm"}}, ["unknown optimizer 'adm'", "adam"]),
    "optimizer": ({"optimizer": "sdg"}, ["unknown optimizer 'sdg'", "'sgd'"]),
    "lr 0": ({"lr": 0}, ["lr = 0", "greater than 0"]),
    "lr negative": ({"lr": -0.1}, ["lr = -0.1"]),
    "lr nan": ({"lr": math.nan}, ["lr = nan"]),
    "lr inf": ({"lr": math.inf}, ["lr = inf"]),
    "lr text": ({"lr": "fast"}, ["lr = 'fast'", "number"]),
    "epochs 0": ({"epochs": 0}, ["epochs = 0", "1"]),
    "epochs a fraction": ({"epochs": 1.5}, ["epochs = 1.5"]),
    "epochs text": ({"epochs": "many"}, ["epochs = 'many'"]),
    "batch 0": ({"batch": 0}, ["batch = 0"]),
    "dropout 1": ({"dropout": 1}, ["dropout = 1"]),
    "dropout negative": ({"dropout": -0.1}, ["dropout = -0.1"]),
    "dropout nan": ({"dropout": math.nan}, ["dropout = nan"]),
    "momentum 1": ({"momentum": 1}, ["momentum = 1"]),
    "momentum nan": ({"momentum": math.nan}, ["momentum = nan"]),
    "weight decay negative": ({"weight_decay": -1}, ["weight_decay = -1"]),
    "weight decay inf": ({"weight_decay": math.inf}, ["weight_decay = inf"]),
    "val 1": ({"val": 1}, ["val = 1"]),
    "val negative": ({"val": -0.5}, ["val = -0.5"]),
    "seed negative": ({"seed": -1}, ["seed = -1"]),
    "seed too large": ({"seed": 2**63}, [f"seed = {2**63}"]),
    "threads 0": ({"threads": 0}, ["threads = 0"]),
    "bias neither": ({"bias": "maybe"}, ["bias = 'maybe'"]),
    "net a number": ({"net": 784}, ["net = 784"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_value_is_refused_with_one_line(case):
    """A value taken silently, or cut to range, would train something else than asked."""
    values, words = BAD[case]
    with pytest.raises(RunError) as caught:
        make_recipe(**values)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("text", "words"),
    [("epoch = 3\n", ["'epoch'", "'epochs'"]), ("rule = pepita\n", ["not TOML", "rule ="]), ("lr = 0\n", ["lr = 0"]),
     ("[rule]\nname = 'bp'\n", ["rule = "]), ("\x00\x01", ["not TOML"]), ("lr = 1\nlr = 2\n", ["not TOML"])],
)  # fmt: skip
def test_bad_file_is_refused_by_name(tmp_path, text, words):
    """The message must say which file, since a recipe may come from a run directory."""
    path = written(tmp_path, text)
    with pytest.raises(RunError) as caught:
        read_recipe(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    """Missing, a folder, not UTF-8: each by its path."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'data = "caf\xe9"\n')
    for path in (tmp_path / "none.toml", tmp_path, latin):
        with pytest.raises(RunError, match="recipe") as caught:
            read_recipe(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [("sign=-1", {"sign": -1}), ("scale=0.5", {"scale": 0.5}), ("scale=1e-3", {"scale": 0.001}),
     ("on=true", {"on": True}), ("on=True", {"on": True}), ("on=False", {"on": False}),
     ("init=he_normal", {"init": "he_normal"}), ('init="he_normal"', {"init": "he_normal"}),
     ("path=a=b", {"path": "a=b"}), (" sign = 1", {"sign": 1}), ("empty=", {"empty": ""})],
)  # fmt: skip
def test_settings_are_read_with_their_type(pair, expected):
    """-1 as text would be refused by every rule, and 'true' as text would be true whatever it says."""
    settings = parse_settings([pair])
    assert settings == expected
    assert [type(value) for value in settings.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize("pair", ["sign", "=1", "", " =1"])
def test_settings_without_key_or_value_are_refused(pair):
    """A forgotten '=' must not be taken as a switch."""
    with pytest.raises(RunError, match="key=value"):
        parse_settings([pair])


def test_later_settings_win():
    """As options do everywhere."""
    assert parse_settings(["sign=1", "sign=-1"]) == {"sign": -1}


def test_every_rule_and_optimizer_says_what_it_starts_from():
    """A rate of zero would fail only when somebody trains it."""
    assert all(kind.suits.lr > 0 and kind.suits.rate(classes=False) > 0 for kind in RULES.values())
    assert set(RATES) == {"sgd", "norm_sgd", "adam", "adamw", "rmsprop"}


def test_activation_is_that_of_the_rules_source():
    """tanh for drtp, sdfa, ssdfa, targets and ep, sigmoid for bursts, triangle where units compete, else relu."""
    suits = {name: kind.suits.activation for name, kind in RULES.items()}
    targets = {name for name, kind in RULES.items() if kind.family == "target"}
    assert {name for name, act in suits.items() if act == "tanh"} == {"drtp", "sdfa", "ssdfa", "ep", *targets}
    assert {name for name, act in suits.items() if act == "triangle"} == {"hard_wta", "softhebb", "som", "scff"}
    assert {name for name, act in suits.items() if act == "sigmoid"} == {"burstprop", "burstccn"}
    assert set(suits.values()) == {"relu", "tanh", "triangle", "sigmoid"}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_takes_the_defaults_that_it_lists(name):
    """``explain`` shows these; one that is refused, or left out, would mislead."""
    arguments = rule_arguments(name)
    assert not arguments.keys() & {"self", "net", "example", "loss", "cuts", "arguments"}
    given = {key: value for key, value in arguments.items() if value is not None}
    assert make_recipe(rule=name, arguments=arguments).arguments == given


def test_nearest_names_one_and_all():
    """The nearest match, and all that there is."""
    assert nearest("drpt", ["drtp", "dfa"]) == "; did you mean 'drtp'? there is drtp, dfa"
    assert nearest("zzz", ["drtp", "dfa"]) == "; there is drtp, dfa"
