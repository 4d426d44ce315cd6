"""GP's trees: Python's eval of what they print, plain lists for crossover and mutation, heights as they are defined."""

import ast
import math
from collections import Counter

import pytest
import torch
from gp_helpers import EVERYTHING, TYPED, at, changed, grown, height, kind, nested, places, rows, said, swaps, texts

from altprop import Refused
from altprop.searches.draws import generator_of
from altprop.searches.gp import GP, NUMBER, PRIMITIVES, TRUTH, Primitive, population
from altprop.searches.gp.forest import Forest, alike
from altprop.searches.gp.growing import CONSTANTS, plant, ramped
from altprop.searches.gp.language import Language
from altprop.searches.gp.population import Programs, groups
from altprop.searches.gp.variation import crossover, mutation

SYMBOLS = len(EVERYTHING) + 4


def samples(n=9):
    """Numbers of every size, zeros and truths."""
    x = 2 * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0], x[1, :2], x[:, 2] = 0, 1e3, (x[:, 2] > 0).double()
    return x


def random_programs(size=300, seed=1):
    return GP(**TYPED, size=size, heights=(0, 5), constants="normal", dtype=torch.float64, seed=seed)


def run_python(text, x):
    """The file by itself, sample by sample."""
    space = {}
    exec(text, space)
    return torch.tensor([float(space["f"](*row)) for row in x.tolist()], dtype=torch.float64)


# what they say


def test_trees_against_python_s_eval_of_the_printed_code():
    """Every primitive, types, constants, overflow and NaN; programs at once, by themselves and as modules."""
    search, x = random_programs(), samples()
    y = search.ask()(x)  # (P, N, 1)
    used = Counter()
    for program, row in zip(search.programs(), y, strict=True):
        torch.testing.assert_close(run_python(program.to_python(), x), row[:, 0], rtol=1e-9, atol=1e-9, equal_nan=True)
        assert torch.equal(program(x).nan_to_num(), row.nan_to_num())
        net = program.net().double()
        net.constants.data = net.constants.new_tensor([value for symbol, value in program.nodes() if symbol == 1])
        torch.testing.assert_close(net(x), row, rtol=0, atol=0, equal_nan=True)
        used.update(symbol for symbol, _ in program.nodes())
    assert len(used) == SYMBOLS and not y.isfinite().all() and y.isfinite().float().mean() > 0.9


@pytest.mark.parametrize("a", [-2.0, -0.5, 0.0, 1.0, 800.0, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_primitive_is_its_python(name, a):
    """Where numbers are 0, overflow or are none, too."""
    one = PRIMITIVES[name]
    for b in (-1.0, 0.0, 3.0, math.inf):
        given = [bool(v > 0) if of == TRUTH else v for v, of in zip((a, b, a), one.arguments, strict=False)]
        told = float(eval(one.python, {"math": math}, dict(zip("abc", given, strict=False))))
        found = one.function(
            *(torch.tensor(v, dtype=torch.bool if isinstance(v, bool) else torch.float64) for v in given)
        )
        assert (found.dtype == torch.bool) == (one.result == TRUTH)
        assert float(found) == pytest.approx(told, rel=1e-12, nan_ok=True)


def test_inputs_of_each_its_own():
    """x (P, N, I): each program on its samples, as by itself; equal programs answer for themselves."""
    search = random_programs(40)
    x = samples(5) + torch.arange(40, dtype=torch.float64)[:, None, None] / 50
    x[..., 2] = (torch.rand(40, 5, generator=torch.Generator().manual_seed(2)) > 0.5).double()
    search.roots[1:4] = search.roots[0]
    each = torch.stack([program(part) for program, part in zip(search.programs(), x, strict=True)])
    torch.testing.assert_close(search.ask()(x), each, rtol=0, atol=0, equal_nan=True)
    forest, roots, owners = population.apart(search.forest, search.roots)
    whole = [(int(forest.height[g.a]), g.symbol) for g in groups(forest, "cpu")]
    assert whole == sorted(set(whole)) and texts(search, forest, roots[:, 0]) == [str(p) for p in search.programs()]
    assert len(forest) - 1 == sum(len(program.forest) - 1 for program in search.programs()) == len(owners) - 1
    everyone = search.ask()(x[0])
    torch.testing.assert_close(search.ask()(x[:1].expand(40, -1, -1)), everyone, rtol=0, atol=0, equal_nan=True)


def test_samples_in_pieces_change_nothing(monkeypatch):
    """As few at a time as fit; none at all is no error."""
    search, x, sizes = random_programs(30), samples(), []
    whole = search.ask()(x)
    compute = population.Table.compute
    monkeypatch.setattr(population, "ROOM", 8 * len(search.forest) * 4)
    monkeypatch.setattr(
        population.Table, "compute", lambda self, part: (sizes.append(part.shape[1]), compute(self, part))[1]
    )
    assert torch.equal(search.ask()(x).nan_to_num(), whole.nan_to_num()) and sizes == [4, 4, 1]
    assert search.ask()(x[:0]).shape == (30, 0, 1)


def test_equal_subtrees_are_computed_once():
    """The table has a row for every subtree that differs, however many trees have it, in groups that are whole."""
    search = grown(**TYPED, size=80, constants="whole")
    trees = [nested(str(program)) for program in search.programs()]
    different = {said(at(tree, way)) for tree in trees for way in places(tree)}
    assert len(search.forest) - 1 == len(different)
    whole = [(int(search.forest.height[g.a]), g.symbol) for g in groups(search.forest, "cpu")]
    assert whole == sorted(set(whole))
    assert search.watch()["nodes"] == sum(len(places(tree)) for tree in trees) / 80
    assert search.watch()["height"] == pytest.approx(sum(map(height, trees)) / 80)
    assert [program.height() for program in search.programs()] == list(map(height, trees))


def test_rows_that_are_alike_are_found_however_many_columns_there_are():
    """Against sets of tuples; with a span at which keys of one whole number would overflow."""
    columns = [torch.randint(3, (200,), generator=torch.Generator().manual_seed(i)) for i in range(6)]
    tuples = list(zip(*(column.tolist() for column in columns), strict=True))
    for span in (3, 2**30):
        many, which = alike(columns, span)
        assert many == len(set(tuples)) and [sorted(set(tuples))[i] for i in which.tolist()] == tuples


def test_minus_zero_is_another_constant_than_zero():
    """1 / x tells them apart, and so must the table."""
    search = GP(1, primitives=("add",), dtype=torch.float64)
    forest, roots = rows(search, ["-0.0", "0.0", "add(0.0, x0)"])
    assert len(forest.gather(roots)[0]) == 5


# as text


def test_text_is_read_again():
    """What ``str`` and ``to_python`` wrote, to the bit of every constant; of several outputs, too."""
    for search in (random_programs(60), GP(2, 3, size=30, constants="uniform", heights=(0, 4))):
        for program in search.programs():
            for text in (str(program), program.to_python()):
                again = search.read(text)
                assert (
                    again == program and list(again.nodes()) == list(program.nodes()) and hash(again) == hash(program)
                )
    one = GP(1).read("add(mul(x0, x0), -1)")
    assert str(one) == "add(mul(x0, x0), -1.0)" and len(one) == 5 and one.height() == 2
    assert one != GP(1, primitives=("add", "mul")).read(str(one)) and one != str(one)


def test_python_needs_nothing_else():
    """The file as it is printed: only what is used, and a tuple where there are more outputs than one."""
    program = GP(2, 2).read("div(x0, x1), cos(1.0)")
    assert program.to_python() == (
        "import math\n\n\ndef div(a, b):\n    return a / b if b != 0 else 1.0\n\n"
        "\ndef cos(a):\n    return math.cos(a) if math.isfinite(a) else math.nan\n\n"
        "\ndef f(x0, x1):\n    return div(x0, x1), cos(1.0)\n"
    )
    space = {}
    exec(program.to_python(), space)
    assert space["f"](3.0, 0.0) == (1.0, math.cos(1.0))


@pytest.mark.parametrize(
    "text",
    ["", "x0 +", "x1", "add(x0)", "add(x0, x0, x0)", "add(x0, less(x0, x0))", "less(x0, x0)", "frob(x0)", "'a'",
     "add(x0, b=x0)", "import os", "__import__('os')", "(x0).real", "x0 + x0"],
)  # fmt: skip
def test_text_that_is_no_program_is_refused(text):
    """And never run: names, numbers of arguments and types are looked at."""
    with pytest.raises(Refused, match=r"came as a program \(.*: give what str or to_python wrote"):
        GP(1, primitives=("add", "less", "if_")).read(text)


def test_deepest_program_that_may_evolve_is_python():
    """A chain of as many calls as the limit may be set to."""
    search = GP(1, primitives=("neg",), limit=60)
    text = "neg(" * 60 + "x0" + ")" * 60
    assert search.read(text).height() == 60 and run_python(search.read(text).to_python(), torch.ones(1, 1)) == 1
    with pytest.raises(Refused, match=r"limit=61 came: .* a limit up to 60"):
        GP(1, limit=61)


# how they grow


def test_ramped_half_and_half():
    """Every height as often full as grown: full trees end nowhere earlier, grown ones are no higher, and do."""
    language = Language((NUMBER,) * 2, ("add", "mul", "neg"))
    forest, roots = ramped(Forest.empty(language), 1000, 2, 6, CONSTANTS["whole"], generator_of(0))
    search = GP(2, primitives=("add", "mul", "neg"))
    trees = [nested(text) for text in texts(search, forest, roots)]
    for n, tree in enumerate(trees):
        limit = 2 + n // 2 % 5
        depths = [len(way) for way in places(tree) if isinstance(at(tree, way), str)]
        assert set(depths) == {limit} if n % 2 == 0 else 1 <= height(tree) <= limit
    reached = Counter(map(height, trees[1::2]))
    assert set(reached) == {1, 2, 3, 4, 5, 6}
    names = Counter(at(tree, way) for tree in trees[1::2] for way in places(tree) if isinstance(at(tree, way), str))
    share = names["x0"] / (names["x0"] + names["x1"])
    assert set(names) == {"x0", "x1", "-1.0", "0.0", "1.0"} and share == pytest.approx(0.5, abs=0.03)
    assert names["0.0"] / (names["x0"] + names["x1"]) == pytest.approx(1 / 6, abs=0.02)  # a constant is one leaf


def test_every_output_begins_half_and_half():
    """None has all the full trees: of one height, every other program has a full one, whichever its output."""
    search = GP(1, 2, size=40, primitives=("add",), heights=(3, 3), constants=None)
    for roots in search.roots.T:
        full = [len(places(nested(text))) == 15 for text in texts(search, search.forest, roots)]
        assert all(full[::2]) and sum(full) < 30


def test_types_without_leaves_are_as_low_as_they_can_be():
    """A truth that only a comparison makes needs a height of 1, even where less is left."""
    search = GP(1, primitives=("add", "less", "if_"), constants=None, output=TRUTH, heights=(0, 3), size=200)
    trees = [nested(str(program)) for program in search.programs()]
    assert all(kind(tree) == TRUTH for tree in trees) and {height(tree) for tree in trees[:2]} == {1}
    assert max(map(height, trees)) == 3  # if_ needs 2, and is left out where 1 is left
    assert {"if_", "add", "less"} == {name for tree in trees for name in _names(tree)}


def _names(tree):
    return [] if isinstance(tree, str) else [tree[0], *(name for child in tree[1:] for name in _names(child))]


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"), [("whole", -1, 1, 0), ("uniform", -1, 1, 0), ("normal", -9, 9, 0)]
)
def test_constants(name, low, high, mean):
    """Drawn anew for each leaf; a function of one's own, or none."""
    c = CONSTANTS[name](4000, generator_of(0))
    assert c.shape == (4000,) and low <= c.min() < -0.9 and 0.9 < c.max() <= high
    assert float(c.mean()) == pytest.approx(mean, abs=0.05) and (len(c.unique()) == 3) == (name == "whole")
    assert float(c.square().mean()) == pytest.approx({"whole": 2 / 3, "uniform": 1 / 3, "normal": 1}[name], abs=0.05)
    own = GP(1, constants=lambda n, generator: torch.full((n,), 7.0), heights=(0, 3), size=40).programs()
    assert {value for program in own for symbol, value in program.nodes() if symbol == 1} == {7.0}
    assert not [
        symbol for program in GP(1, constants=None, size=40).programs() for symbol, _ in program.nodes() if symbol == 1
    ]


# how they change

PAIRS = [
    ("add(x0, mul(x1, 1.0))", "sub(sin(x0), x1)"),
    ("neg(x0)", "cos(add(x0, x0))"),
    ("x0", "add(x0, x1)"),
    ("if_(less(x0, 1.0), x0, neg(x1))", "add(if_(not_(less(x1, x0)), x0, 0.0), x1)"),
    ("if_(less(x0, x1), x0, x1)", "add(x0, 1.0)"),
    ("if_(x2, x0, x1)", "if_(and_(x2, x2), sin(x0), x0)"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_crossover_gives_every_swap_of_one_type_as_often(pair):
    """Against all swaps that there are of two nested lists, the first place drawn alike, then one of its type alike."""
    inputs, n = (NUMBER, NUMBER, TRUTH), 4000
    search = GP(**TYPED)
    forest, (a, b) = rows(search, pair)
    forest, first, second = crossover(forest, a.expand(n), b.expand(n), 17, generator_of(0))
    found = Counter(zip(texts(search, forest, first), texts(search, forest, second), strict=True))
    expected = swaps(nested(pair[0]), nested(pair[1]), inputs)
    assert set(found) == set(expected)
    for children, p in expected.items():
        assert found[children] / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n) + 1e-9)


@pytest.mark.parametrize("limit", [2, 3, 17])
def test_a_child_that_is_too_high_is_its_parent(limit):
    """Against all swaps: of the two children each by itself, so that the other one stays."""
    search, pair, n = GP(2, primitives=("neg", "add")), ("neg(neg(x0))", "add(add(x1, x1), x1)"), 800
    forest, (a, b) = rows(search, pair)
    forest, first, second = crossover(forest, a.expand(n), b.expand(n), limit, generator_of(0))
    found = set(zip(texts(search, forest, first), texts(search, forest, second), strict=True))
    expected = {
        tuple(child if height(nested(child)) <= limit else parent for child, parent in zip(children, pair, strict=True))
        for children in swaps(nested(pair[0]), nested(pair[1]))
    }
    assert found == expected and len(found) > 4
    highest = max(height(nested(text)) for children in swaps(*map(nested, pair)) for text in children)
    assert highest == 3  # which the limit of 2 does not let through


def test_mutation_puts_a_new_full_tree_of_the_type_in_any_place():
    """Against the nested list: each place as often, the root too, heights 0 to 2 as often, all else as it was."""
    text, n = "if_(less(x0, mul(x1, 5.0)), x0, neg(7.0))", 3000
    search, tree = GP(**TYPED), nested(text)
    forest, root = rows(search, [text])
    forest, children = mutation(forest, root.expand(n), (0, 2), 17, CONSTANTS["normal"], generator_of(0))
    counts, heights = Counter(), Counter()
    for child in map(nested, texts(search, forest, children)):
        assert kind(child, TYPED["inputs"]) == NUMBER
        where = [way for way in places(tree) if _differs_only_at(tree, child, way)]
        deepest = max(where, key=len)
        new = at(child, deepest)
        assert kind(new, TYPED["inputs"]) == kind(at(tree, deepest), TYPED["inputs"])
        counts[deepest] += 1
        heights[height(new)] += deepest == (1, 2, 2)  # 5., which is not drawn again
    for way in [(2,), (1,), (1, 2, 1), (1, 2, 2), (3, 1)]:
        assert counts[way] / n == pytest.approx(1 / len(places(tree)), rel=0.25)
    assert all(count == pytest.approx(sum(heights.values()) / 3, rel=0.25) for count in heights.values())
    low, again = mutation(forest, root.expand(n), (2, 2), 2, CONSTANTS["normal"], generator_of(0))
    assert {height(nested(text)) for text in texts(search, low, again.unique())} == {2, 3}
    assert {said(nested(text)) for text in texts(search, low, again.unique()) if height(nested(text)) == 3} == {text}


def _differs_only_at(tree, child, way):
    try:
        return changed(tree, way, at(child, way)) == child
    except (IndexError, TypeError):
        return False


@pytest.mark.parametrize("limit", [4, 17])
def test_types_and_heights_hold_in_every_generation(limit):
    """Walked by a plain recursion over what is printed."""
    search = GP(**TYPED, size=20, limit=limit, heights=(1, 4), p_c=0.9, p_m=0.5, seed=3)
    highest = 0
    for _ in range(8):
        search.ask()
        search.tell([float(len(program)) for program in search.programs()])  # the larger the better
        trees = [nested(str(program)) for program in search.programs()]
        assert all(kind(tree, TYPED["inputs"]) == NUMBER for tree in trees)
        highest = max([highest, *map(height, trees)])
    assert highest == limit if limit == 4 else 6 < highest <= limit


def test_one_tree_of_a_program_moves():
    """Of three outputs, in which trees are told apart by their constants: none goes to another output."""
    own = (Primitive("join", torch.add, "a + b"), *(Primitive(f"of{i}", torch.neg, "-a", (NUMBER,)) for i in range(3)))
    search = GP(1, 3, size=50, primitives=own, p_c=1.0, p_m=0.0, heights=(2, 3), elite=0)
    forest, roots = rows(search, [f"join(of{i}(x0), of{i}(of{i}(x0)))" for i in range(3)])
    search.forest, search.roots = forest, roots.expand(50, -1).clone()
    search.ask()
    search.tell(torch.zeros(50))
    moved = 0
    for program in search.programs():
        trees = [ast.unparse(tree) for tree in ast.parse(str(program)).body[0].value.elts]
        for i, tree in enumerate(trees):
            assert set(_names(nested(tree))) <= {"join", f"of{i}"}
        others = sum(tree != f"join(of{i}(x0), of{i}(of{i}(x0)))" for i, tree in enumerate(trees))
        assert others <= 1
        moved += others
    assert moved > 10 and search.ask()(torch.ones(4, 1)).shape == (50, 4, 3)


def test_planting_where_nothing_is_asked_for():
    """No place, no row."""
    forest = Forest.empty(Language((NUMBER,), ("add",)))
    none = torch.zeros(0, dtype=torch.int64)
    after, found = plant(forest, none, none, none.bool(), None, generator_of(0))
    assert len(after) == 1 and len(found) == 0


def test_wrong_inputs_are_refused():
    """By their shape."""
    programs = GP(2, size=5).ask()
    for x in (torch.ones(3), torch.ones(3, 1), torch.ones(4, 3, 2)):
        with pytest.raises(Refused, match=r"to 5 programs: give \(N, 2\), or \(5, N, 2\)"):
            programs(x)
    assert isinstance(programs, Programs) and len(programs) == 5
