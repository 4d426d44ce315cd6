"""Rules from outside.  The oracle is the package itself with a rule of its own: the twin of one that it knows."""

import sys

import pytest
import torch
from run_helpers import assert_refused, run_cli, run_python, toy_file

import altprop
from altprop import DRTP, RULES, Claims, Refused, Rule, registry
from altprop.core import RuleWarning
from altprop.registry import is_known, register

SMALL = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "2", "--no-measure"]
MINE = '''"""Direct feedback by another name (a twin)."""

from altprop import Claims, Rule
from altprop.graph import Aligned
from altprop.rules import DFA



class Mine(DFA):
    """Direct feedback, as a package of others has it."""

    reference = "me2026"


class Half(Rule):
    """Of no use: it lacks ``credit``."""
'''


pytestmark = pytest.mark.usefixtures("registry_kept")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    (tmp_path / "my_rules.py").write_text(MINE)
    return tmp_path


def kind(name="Mine", base=DRTP, **attributes):
    return type(name, (base,), {"__module__": __name__, "__qualname__": name, **attributes})


def test_registered_rule_is_one_of_ours():
    """fit takes it by its name, to the same weights as its twin; the same class may come twice, and so may a new
    definition of it."""
    twin = kind()
    assert altprop.register(twin, "mine") is twin and register(twin, "mine") is twin
    again = kind()
    register(again, "mine")
    assert RULES["mine"] is again
    settings = {"data": "digits", "net": "64-8-10", "epochs": 1, "lr": 0.01, "act": "tanh", "measure": False}
    mine, known = (altprop.fit(rule, **settings) for rule in ("mine", "drtp"))
    assert type(mine.rule) is again
    for left, right in zip(mine.net.parameters(), known.net.parameters(), strict=True):
        assert torch.equal(left, right)


class Nameless(Rule):
    def credit(self, x, y, ready=None):
        raise NotImplementedError


class Abstract(Rule):
    family, reference, claims = "mine", "me2026", Claims("none", "none", "none")


@pytest.mark.parametrize(
    "rule, name, words",
    [
        (3, "mine", ["register(3, ...) came", "inherits from altprop.Rule"]),
        (torch.nn.Linear, "mine", ["inherits from altprop.Rule"]),
        (Abstract, "mine", ["Abstract is abstract", "write its credit"]),
        (Nameless, "mine", ["Nameless does not say its family, claims, reference"]),
        (DRTP, "fa", ["the name 'fa' came for DRTP", "feedback_alignment.FA has it", "give another name"]),
        (DRTP, "My Rule", ["'My Rule' came as the name of DRTP", "small letters"]),
        (DRTP, None, ["None came as the name of DRTP"]),
    ],
)
def test_what_is_no_rule_is_refused(rule, name, words):
    """One line that says what to do, and nothing is registered."""
    before = dict(RULES)
    with pytest.raises(Refused) as refusal:
        register(rule, name)
    assert all(word in str(refusal.value) for word in words) and len(str(refusal.value)) <= 290
    assert before == RULES


PACKAGE = {
    "mine_package/__init__.py": MINE,
    "mine_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine-package\nVersion: 1.0\n",
    "mine_package-1.0.dist-info/entry_points.txt": "[altprop.rules]\nmine = mine_package:Mine\n"
    "lost = mine_package:Lost\nhalf = mine_package:Half\nfa = mine_package:Mine\n",
}
USE = """
import sys
sys.path.insert(0, "site")
from altprop.cli import main
from altprop.run import values
assert "mine_package" not in sys.modules
values.make_recipe(rule="drtp")
assert "mine_package" not in sys.modules, "it is read when a name is not found, and no sooner"
{0}
"""


@pytest.fixture
def package(desk):
    for name, text in PACKAGE.items():
        (desk / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (desk / "site" / name).write_text(text)
    return desk


@pytest.mark.parametrize(
    "words, found",
    [
        (["list", "--json"], '"name": "mine"'),
        (["explain", "mine"], "Direct feedback, as a package of others has it."),
        (["train", "mine", *SMALL, "--out", "run"], "test accuracy"),
        (["compare", "--rules", "bp,mine", *SMALL[:-1], "--seeds", "1", "--out", "both"], "mine"),
    ],
    ids=["list", "explain", "train", "compare"],
)
def test_installed_package_brings_rules(package, words, found):
    """A dist-info with entry points on sys.path; three that are broken are a line each, and end nothing."""
    outcome = run_python(USE.format(f"main({words})"), package)
    assert outcome.status == 0, outcome.err
    assert found in outcome.out
    lines = [line for line in outcome.err.splitlines() if line.startswith("altprop: rule '")]
    assert len(lines) == 3 and all("cannot be had" in line and "uninstall its package" in line for line in lines)
    assert any("'lost' of mine_package:Lost" in line and "AttributeError" in line for line in lines)
    assert any("Half is abstract" in line for line in lines) and any("FA has it" in line for line in lines)


def test_import_runs_a_file_once(desk, capsys):
    """Its concrete rules go by their class's name in small letters; a run of one is evaluated, resumed, exported and
    asked with the same option."""
    with open("my_rules.py", "a") as file:
        file.write("\nprint('ran', file=__import__('sys').stderr)\n")
    outcome = run_cli(capsys, "train", "mine", *SMALL, "--out", "run", "--import", "my_rules.py")
    assert outcome.status == 0 and outcome.err.count("ran") == 1
    assert "mine" in run_cli(capsys, "list", "--import", "my_rules.py").out and "half" not in RULES
    assert RULES["mine"].__doc__ in run_cli(capsys, "explain", "mine", "--import", "./my_rules.py").out
    assert "aligned" not in RULES, "what the file imports is not its own"
    reached = run_cli(capsys, "eval", "run", "--json", "--import", "my_rules.py")
    assert reached.json["rule"] == "mine" and "ran" not in reached.err
    assert run_cli(capsys, "train", "--resume", "run", "--import", "my_rules.py").status == 0
    assert run_cli(capsys, "predict", "run", "toy.npz", "--import", "my_rules.py").status == 0
    both = ["compare", "--rules", "bp,mine", *SMALL[:-1], "--seeds", "1", "--import", "my_rules.py", "--out", "both"]
    assert "mine" in run_cli(capsys, *both).out
    apart = run_cli(capsys, "compare", "--rules", "mine", *both[3:-1], "apart", "--jobs", "2", "--json")
    assert {row["rule"]: row["n"] for row in apart.json["rows"]}["mine"] == 1, apart.err


def test_run_of_a_rule_that_is_gone_says_what_to_do(desk, capsys):
    """A run directory names its rule and no file: what it holds is read, and never run."""
    assert run_cli(capsys, "train", "mine", *SMALL, "--out", "run", "--import", "my_rules.py").status == 0
    assert "my_rules" not in (desk / "run" / "recipe.toml").read_text()
    del RULES["mine"]
    for words in (["eval", "run"], ["train", "--resume", "run"]):
        assert_refused(run_cli(capsys, *words), "unknown rule 'mine'", "--import FILE.py or altprop.register")
    assert run_cli(capsys, "report", "run").status == 0  # which reads files alone


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("gone.py", None, ["gone.py came", "give a file of Python"]),
        ("notes.txt", "x = 1", ["notes.txt came", "give a file of Python"]),
        ("empty.py", "x = 1", ["brought no rule", "a subclass of altprop.Rule"]),
        ("broken.py", "1 / 0", ["failed (ZeroDivisionError: division by zero)", "mend the file"]),
        ("wrong.py", "def f(:", ["failed (SyntaxError", "mend the file"]),
        ("taken.py", "from altprop import FA as Old\nclass FA(Old): ...", ["the name 'fa' came", "another name"]),
    ],
)
def test_import_of_what_is_no_rule_is_refused(desk, capsys, name, text, words):
    """Before anything is trained, in one line."""
    if text is not None:
        (desk / name).write_text(text)
    assert_refused(run_cli(capsys, "list", "--import", name), *words)


def test_file_may_register_by_another_name(desk, capsys):
    """A call of altprop.register in the file comes first: the class has no second name."""
    with open("my_rules.py", "a") as file:
        file.write("\nimport altprop\naltprop.register(Mine, 'ours')\n")
    assert run_cli(capsys, "explain", "ours", "--import", "my_rules.py").status == 0
    assert is_known("ours") and not is_known("mine")


def test_broken_package_is_told_as_a_warning(monkeypatch):
    """In Python too: a RuleWarning, once."""

    class Broken:
        name, value = "mine", "nowhere:Mine"

        def load(self):
            raise ImportError("no module named nowhere")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Broken()])
    with pytest.warns(RuleWarning, match=r"rule 'mine' of nowhere:Mine cannot be had \(ImportError"):
        assert not is_known("mine")
    assert not is_known("mine") and "nowhere" not in sys.modules
